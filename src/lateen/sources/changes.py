"""What a source yields: which objects came, changed or went, and what is wrong with what it reads now."""

from dataclasses import dataclass, field

from lateen.base.findings import Finding
from lateen.base.names import ObjectRef
from lateen.config.kinds.objects import Object
from lateen.config.places import Places


@dataclass(frozen=True)
class Change:
    """One step of a source."""

    upserts: tuple[Object, ...] = ()
    """New or changed objects, whole."""
    removed: tuple[ObjectRef, ...] = ()
    findings: tuple[Finding, ...] = ()
    """Everything wrong with the source as it is after this step (not only what is new)."""
    places: Places = field(default_factory=Places)
    """Places of everything in the source after this step."""

    @property
    def is_empty(self) -> bool:
        """Whether no object changed; findings may have."""
        return not self.upserts and not self.removed
