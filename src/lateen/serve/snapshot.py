"""What one view has of one type at one published revision: immutable, shared by all its sessions as "what is there" and as "what was sent".

Made by `catalog`, read by `session`. A session keeps a reference to the snapshot that it sent last instead of a table of versions.
"""

from collections.abc import Mapping
from dataclasses import dataclass, field
from itertools import count
from weakref import WeakValueDictionary

from lateen.base.names import ObjectRef
from lateen.wire.delta import fragment_head
from lateen.xds.resource import Resource

_serials = count(1)


class Entry:
    """One resource ready to be sent. Views whose resource has the same name and version share the entry."""

    __slots__ = ("__weakref__", "fragment", "name", "origins", "version")

    def __init__(self, resource: Resource) -> None:
        self.name = resource.name
        self.version = resource.version
        self.origins: frozenset[ObjectRef] = resource.origins
        self.fragment = (fragment_head(resource.name, resource.version, resource.type.value, len(resource.body)), resource.body)
        """Two pieces that joined are the resource in a response. The second is the resource's own bytes: route tables are large, and are kept once."""


class Entries:
    """The entries in use, so that equal ones are one."""

    def __init__(self) -> None:
        self._entries: WeakValueDictionary[tuple[str, str, str], Entry] = WeakValueDictionary()

    def entry(self, resource: Resource) -> Entry:
        """The entry of a resource, made if there is none."""
        key = (resource.type.value, resource.name, resource.version)
        found = self._entries.get(key)
        if found is None or found.origins != resource.origins:
            found = self._entries[key] = Entry(resource)
        return found


@dataclass(frozen=True, eq=False)
class Snapshot:
    """`listed`: the names that the view has. `entries`: those, and names beyond that a session asked for and that exist. `absent`: names that
    were asked for and do not exist. `changed`: names that differ from the snapshot whose serial is `parent`."""

    entries: Mapping[str, Entry]
    listed: frozenset[str]
    absent: frozenset[str] = frozenset()
    changed: frozenset[str] = frozenset()
    parent: int = 0
    serial: int = field(default_factory=lambda: next(_serials))

    def version(self, name: str) -> str | None:
        """The version of a resource; None: it is not here."""
        entry = self.entries.get(name)
        return entry.version if entry is not None else None


NOTHING = Snapshot({}, frozenset())
"""Of a type that nobody emits: every name is absent."""
