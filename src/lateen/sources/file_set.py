"""The objects of a set of files, as the files change: sans-I/O. Text goes in, changes come out; `sources.files` does the reading.

A bad object never removes a working one: refused, broken, empty and unreadable keep what was good, with a finding.
"""

from collections.abc import Callable, Iterable
from dataclasses import dataclass, field

from lateen.base.findings import Finding, Place, Severity
from lateen.base.names import ObjectRef
from lateen.config import codes
from lateen.config.decode import decode, ref_of
from lateen.config.kinds.objects import Object
from lateen.config.places import Places
from lateen.config.support import not_in_force
from lateen.config.validate import validate
from lateen.sources.changes import Change

UTF8_BOM = b"\xef\xbb\xbf"


@dataclass(frozen=True)
class Unreadable:
    """A file that could not be read; `reason` in words."""

    reason: str


@dataclass
class _File:
    objects: dict[ObjectRef, Object] = field(default_factory=dict)
    findings: tuple[Finding, ...] = ()
    places: Places = field(default_factory=Places)


class FileSet:
    """Files by name, in an order: of two files that hold the same object the first wins. `prepare`: last step on each object (defaults)."""

    def __init__(self, order: Callable[[str], object] = lambda name: name, prepare: Callable[[Object], Object] = lambda item: item) -> None:
        self._order = order
        self._prepare = prepare
        self._files: dict[str, _File] = {}
        self._holders: dict[ObjectRef, list[str]] = {}
        self._doubled: set[ObjectRef] = set()
        """Objects that more than one file holds."""
        self._in_force: dict[ObjectRef, Object] = {}
        self._pending: set[ObjectRef] = set()

    @property
    def objects(self) -> dict[ObjectRef, Object]:
        """The objects in force."""
        return dict(self._in_force)

    @property
    def names(self) -> tuple[str, ...]:
        """Files held."""
        return tuple(sorted(self._files, key=self._order))  # type: ignore[arg-type]  # orders are comparable among themselves

    def put(self, name: str, content: bytes | Unreadable) -> None:
        """A file's content, or why there is none."""
        file = self._files.get(name) or _File()
        self._set(name, _read(name, file, content, self._prepare))

    def remove(self, name: str) -> None:
        """A file is gone: so are its objects, unless another file holds them."""
        if name in self._files:
            self._set(name, None)

    def _set(self, name: str, new: _File | None) -> None:
        old = self._files.pop(name, None) or _File()
        if new is not None:
            self._files[name] = new
        now = new.objects if new is not None else {}
        for ref in old.objects.keys() | now.keys():
            holders = self._holders.setdefault(ref, [])
            if ref in now and name not in holders:
                holders.append(name)
                holders.sort(key=self._order)  # type: ignore[arg-type]  # as above
            elif ref not in now and name in holders:
                holders.remove(name)
            (self._doubled.add if len(holders) > 1 else self._doubled.discard)(ref)
            self._pending.add(ref)

    def take(self) -> Change:
        """What changed since the last call."""
        upserts: list[Object] = []
        removed: list[ObjectRef] = []
        for ref in sorted(self._pending):
            holders = self._holders.get(ref, [])
            before = self._in_force.get(ref)
            if not holders:
                self._holders.pop(ref, None)
                if before is not None:
                    del self._in_force[ref]
                    removed.append(ref)
                continue
            item = self._files[holders[0]].objects[ref]
            if before is not item and before != item:
                self._in_force[ref] = item
                upserts.append(item)
        self._pending.clear()
        places = self._places()
        return Change(tuple(upserts), tuple(removed), tuple(self._findings(places)), places)

    def _places(self) -> Places:
        found: dict[ObjectRef, object] = {}
        for name in reversed(self.names):
            found.update(self._files[name].places.origins)
        return Places(found)  # type: ignore[arg-type]  # origins of origins

    def _findings(self, places: Places) -> Iterable[Finding]:
        for name in self.names:
            yield from self._files[name].findings
        for ref in sorted(self._doubled):
            for other in self._holders[ref][1:]:
                place = self._files[other].places.at(ref)
                first = places.at(ref)
                message = "an object of this kind and name is in two files"
                yield Finding(codes.DUPLICATE_OBJECT, Severity.ERROR, message, ref, "", f"the one at {first} counts", place)


def _read(name: str, old: _File, content: bytes | Unreadable, prepare: Callable[[Object], Object]) -> _File:
    """A file after new content: what is good of it, and what was good before of what is not."""
    kept = f"its {len(old.objects)} objects stay in force" if old.objects else ""
    if isinstance(content, Unreadable):
        return _File(old.objects, (_file_finding(name, f"cannot be read: {content.reason}", kept, Severity.ERROR),), old.places)
    try:
        text = content.removeprefix(UTF8_BOM).decode()
    except UnicodeDecodeError as error:
        line = content.count(b"\n", 0, error.start) + 1
        finding = _file_finding(name, "not text in UTF-8", kept, Severity.ERROR, line)
        return _File(old.objects, (finding,), old.places)
    if not text.strip():
        severity = Severity.WARNING if old.objects else Severity.INFO
        return _File(old.objects, (_file_finding(name, "the file is empty", kept, severity),), old.places)
    decoded = decode(text, name)
    findings = list(decoded.findings)
    objects: dict[ObjectRef, Object] = {}
    refused = set(decoded.refused)
    for item in decoded.objects:
        ref = ref_of(item)
        found = decoded.places.all_resolved((*validate(item), *not_in_force(item)))
        findings += found
        if any(finding.severity is Severity.ERROR for finding in found):
            refused.add(ref)
        else:
            objects[ref] = prepare(item)
    for ref, item in old.objects.items():
        if ref in refused or (decoded.is_broken and ref not in objects):
            objects[ref] = item
            if ref in refused:
                message = "refused; its last good revision stays in force"
                findings.append(Finding(codes.LAST_GOOD, Severity.INFO, message, ref, place=decoded.places.at(ref)))
    return _File(objects, tuple(findings), old.places + decoded.places if decoded.is_broken else decoded.places)


def _file_finding(name: str, message: str, hint: str, severity: Severity, line: int = 0) -> Finding:
    return Finding(codes.UNREADABLE, severity, message, None, "", hint, Place(name, line, 1 if line else 0))
