"""The envelope of every object: `metadata` as `Meta`, `spec` typed by each kind, and the base classes kinds derive from."""

from typing import ClassVar

import msgspec

from lateen.config.kinds.values import Labels, Map


class Spec(msgspec.Struct, frozen=True, rename="camel", kw_only=True):
    """Base of every part of an object. Attributes are snake_case, YAML is camelCase; absent messages are None, absent lists ()."""

    ALIASES: ClassVar[dict[str, str]] = {}
    """Other spellings of a field in YAML → its name in YAML."""
    REQUIRED: ClassVar[tuple[str, ...]] = ()
    """Fields, as YAML spells them, that may not be missing."""
    ONE_OF: ClassVar[tuple[tuple[str, ...], ...]] = ()
    """Groups of fields of which at most one may be set."""
    IS_REPLACED_WHOLE: ClassVar[bool] = False
    """Written over a default it takes nothing from it: what it doesn't say has the proto's zero value."""


class OwnerReference(Spec, frozen=True):
    """Who made an object. Kubernetes: metav1.OwnerReference."""

    kind: str = ""
    name: str = ""
    uid: str = ""
    api_version: str = ""
    controller: bool = False
    block_owner_deletion: bool = False


class Meta(Spec, frozen=True):
    """Kubernetes: metav1.ObjectMeta, the part anyone reads. Bookkeeping that changes without meaning (resourceVersion, managedFields) is dropped."""

    name: str = ""
    generate_name: str = ""
    namespace: str = ""
    """Empty for kinds without namespaces; a namespaced object without one was given `default`."""
    labels: Labels = Map()
    annotations: Labels = Map()
    created: float | None = msgspec.field(default=None, name="creationTimestamp")
    """Unix seconds. None: not said, as in files; such objects are as old as one another."""
    deleted: float | None = msgspec.field(default=None, name="deletionTimestamp")
    """Unix seconds since when it is going away. None: it is not."""
    generation: int = 0
    uid: str = ""
    owner_references: tuple[OwnerReference, ...] = ()


class Object(Spec, frozen=True):
    """Base of every kind. Subclasses add `spec` (and `status`, `data`, … where the kind has them) and name themselves in ClassVars."""

    kind: ClassVar[str] = ""
    group: ClassVar[str] = ""
    """API group; empty for the core group."""
    versions: ClassVar[tuple[str, ...]] = ()
    """Served versions, the preferred one first; all decode to this one type."""
    plural: ClassVar[str] = ""
    is_namespaced: ClassVar[bool] = True

    meta: Meta = msgspec.field(name="metadata")

    @classmethod
    def api_version(cls) -> str:
        """Group and preferred version, as `apiVersion` spells it."""
        return f"{cls.group}/{cls.versions[0]}" if cls.group else cls.versions[0]

    @property
    def name(self) -> str:
        """`metadata.name`."""
        return self.meta.name

    @property
    def namespace(self) -> str:
        """`metadata.namespace`."""
        return self.meta.namespace

    @property
    def age(self) -> tuple[float, str, str]:
        """Sort key of "oldest first": creation (0 where not said), name, namespace."""
        return (self.meta.created or 0.0, self.meta.name, self.meta.namespace)
