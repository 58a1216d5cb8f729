"""Files read once and judged, without a mesh: `lateen validate`, `up --dry-run`."""

from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path

from lateen.base.findings import Finding
from lateen.config.kinds.objects import Object
from lateen.config.places import Places
from lateen.sources.files import FileSource


@dataclass(frozen=True)
class Checked:
    """What was read."""

    objects: int
    """How many objects are good."""
    findings: tuple[Finding, ...]
    loaded: tuple[Object, ...]
    """The good objects."""
    places: Places
    """Where they are written."""


def check(paths: Iterable[str | Path], exclude: Iterable[str | Path] = ()) -> Checked:
    """Reads files, folders or `-`. Findings are in the files' order."""
    change = FileSource(paths, exclude).load()
    return Checked(len(change.upserts), change.findings, change.upserts, change.places)
