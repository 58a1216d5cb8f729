"""Objects that are bad where validation doesn't, or can't, refuse them: every value of the golden cases in turn at and beyond what Envoy takes.

A value is changed in the object's JSON, so that only what a user's file can say counts; what decoding or validation refuses is only counted.
"""

import copy
import re
from collections import Counter
from collections.abc import Callable, Iterator
from typing import Any

from lateen.config.decode import ref_of
from lateen.sources.plain import as_json
from tests.fuzz.configurations import KINDS, Counts, Edit, Mesh, reread_json

_DURATION = re.compile(r"\d+(\.\d+)?(ms|s|m|h)")
_LABEL = "a" * 63
TEXTS = (
    "",
    " ",
    "a\nb",
    "\u0000",
    "\u007f",
    "ü.example.com",
    "x" * 256,
    "x" * 20_000,
    f"{_LABEL}.{_LABEL}.{_LABEL}.{_LABEL}",
    f"*.{_LABEL}.{_LABEL}.{_LABEL}.{_LABEL}",
    "*",
    "*.*",
    "a*.example.com",
    "A.example.com",
    "a.example.com.",
    "a.example.com:65536",
    "..",
    "-1",
    "300.1.1.1",
    "10.0.0",
    "10.0.0.1/33",
    "0.0.0.0/0",
    "fe80::1%lo",
    "::ffff:10.0.0.1",
    "[::1]",
    ":path",
    "host",
    "Host",
    "x y",
    "%",
    "%FOO%",
    "%REQ(",
    "%START_TIME(%E4%)%",
    "((",
    "[",
    "a{1,1001}",
    "\\C",
    "(?=a)",
    "((((a{1,100}){1,9}){1,9}){1,9})",
    "\\9",
    "\\",
    "/../..",
    "//",
    "?",
    "/a?b#c",
    "unix:///" + "p" * 120,
    "outbound|80||x",
    "http://[",
)
NUMBERS = (0, -1, 1, 2, 99, 100, 101, 199, 255, 256, 599, 600, 999, 65535, 65536, 2**31 - 1, 2**31, 2**32 - 1, 2**32, 2**63 - 1, 2**64, 1e-9, 0.5, 1e300)
DURATIONS = ("0s", "1ns", "999us", "1ms", "-1s", "0.5s", "25h", "1000000h", "2562047h47m16s", "-2562047h", "9223372036s")
LIST_LENGTHS = (0, 2, 300)


PLACES = 2
"""Places where one value is tried for one field."""
Path = tuple[str | int, ...]


def hostile_edits(mesh: Mesh, counts: Counts, part: Callable[[], bool]) -> Iterator[Edit]:
    """Each value of each object of a mesh, one at a time, made hostile in each way; `part`: whether this one counts."""
    tried: Counter[tuple[str, str, int]] = Counter()
    for one in mesh.objects:
        kind, document = type(one).__name__, as_json(one, reveals=True)
        for path, value in places(document) if kind in KINDS else ():
            if path[0] != "spec" and path[:2] != ("metadata", "labels"):
                continue
            for number, other in enumerate(hostile(value)):
                key = (kind, spelled(path), number)
                if tried[key] >= PLACES or not part():
                    continue
                tried[key] += 1
                changed = reread_json(replaced(document, path, other), counts)
                if changed is not None and ref_of(changed) == ref_of(one):
                    counts.made += 1
                    yield Edit((changed,), ((kind, spelled(path)),))


def places(value: Any, path: Path = ()) -> Iterator[tuple[Path, Any]]:
    """(path, value) of everything within a JSON value."""
    if path:
        yield path, value
    if isinstance(value, dict):
        for key, inner in value.items():
            yield from places(inner, (*path, key))
    elif isinstance(value, list):
        for at, inner in enumerate(value):
            yield from places(inner, (*path, at))


def replaced(document: Any, path: Path, value: Any) -> Any:
    """A copy with another value at a place."""
    new = copy.deepcopy(document)
    inner = new
    for step in path[:-1]:
        inner = inner[step]
    inner[path[-1]] = value
    return new


def hostile(value: Any) -> Iterator[Any]:
    """Other values that nobody would write, but somebody might."""
    if isinstance(value, bool) or value is None:
        return
    if isinstance(value, (int, float)):
        yield from NUMBERS
    elif isinstance(value, str):
        yield from DURATIONS if _DURATION.fullmatch(value) else TEXTS
    elif isinstance(value, list) and value:
        yield from (value * length for length in LIST_LENGTHS)
        if isinstance(value[0], str):
            yield from ([*value, text] for text in TEXTS)
    elif isinstance(value, dict) and all(isinstance(one, str) for one in value.values()):
        yield from (value | {text: "x"} for text in TEXTS)
        yield from (value | {"x-more": text} for text in TEXTS)


def spelled(path: Path) -> str:
    """The field path, without places in lists."""
    return ".".join(part for part in path if isinstance(part, str))
