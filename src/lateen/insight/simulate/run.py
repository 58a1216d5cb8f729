"""Cases on disk in, answers on disk out. Called by the command `simulate`; a case that fails does not stop the others."""

import json
import traceback
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from lateen.insight.simulate.answer import Answers
from lateen.insight.simulate.call import Outcome
from lateen.insight.simulate.case import Case, read_case, resources_of
from lateen.insight.simulate.emitted import Emitted, Serialized
from lateen.insight.simulate.messages import message_class, protojson

Json = Any  # plain JSON of several shapes.


@dataclass(frozen=True)
class Work:
    """One case and where its answers go."""

    folder: Path
    target: Path


@dataclass(frozen=True)
class Failure:
    """A case that could not be answered. `error`: one line; `details`: the traceback."""

    folder: Path
    error: str
    details: str


def found_cases(argument: Path, out: Path) -> list[Work]:
    """The cases of one argument: a case folder itself, or all below it. Empty: there is none."""
    if (argument / "calls.json").is_file():
        return [Work(argument, out / argument.resolve().name)]
    return [Work(path.parent, out / path.parent.relative_to(argument)) for path in sorted(argument.rglob("calls.json"))]


def simulate(works: Iterable[Work], dumps: bool = False) -> Iterator[Failure]:
    """Answers each case and yields those that failed, whose calls all have outcome `error`. `dumps`: also writes what the proxy gets."""
    for work in works:
        try:
            case = read_case(work.folder)
            serialized = [] if case.unknown_features else list(resources_of(case))
            files = answered(case, serialized)
            if dumps:
                _dump(work.target, serialized)
        except Exception as error:  # noqa: BLE001  # the guard of one case: whatever its configuration breaks, the rest goes on
            yield Failure(work.folder, f"{type(error).__name__}: {error}".splitlines()[0], traceback.format_exc())
            files = _failed(work.folder)
        _write(work.target, files)


def answered(case: Case, serialized: Iterable[Serialized]) -> dict[str, Json]:
    """File name → content of one case."""
    answers = Answers(Emitted.decoded(serialized))
    for call in case.calls:
        if case.unknown_features:
            answers.results.append({"call": call, "result": {"outcome": Outcome.UNSUPPORTED.value, "info": {"features": list(case.unknown_features)}}})
        else:
            answers.add(call)
    refused = [{"kind": one.kind, "namespace": one.ref.namespace, "name": one.ref.name, "error": one.error} for one in case.refusals]
    return answers.files() | ({"rejected.json": refused} if refused else {})


def _failed(folder: Path) -> dict[str, Json]:
    try:
        calls = json.loads((folder / "calls.json").read_bytes())
    except (OSError, ValueError):
        return {"calls.json": []}
    return {"calls.json": [{"call": item.get("call"), "result": {"outcome": Outcome.ERROR.value}} for item in calls]}


def _write(target: Path, files: dict[str, Json]) -> None:
    target.mkdir(parents=True, exist_ok=True)
    for name, content in files.items():
        (target / name).write_text(_text(content))


def _text(content: Json) -> str:
    """One line an entry, as the data set has it."""
    lines: Iterable[str]
    if isinstance(content, list):
        lines, ends = (_line(item) for item in content), "[]"
    else:
        lines, ends = (f"{json.dumps(key)}:{_line(value)}" for key, value in content.items()), "{}"
    return f"{ends[0]}\n" + ",\n".join(lines) + f"\n{ends[1]}\n"


def _line(value: Json) -> str:
    return json.dumps(value, sort_keys=True, separators=(",", ":"))


def _dump(target: Path, serialized: Iterable[Serialized]) -> None:
    """`resources.json`: type URL → name → protojson of what the proxy gets; `resources/`: the bytes themselves."""
    found: dict[str, dict[str, Json]] = {}
    folder = target / "resources"
    folder.mkdir(parents=True, exist_ok=True)
    for index, one in enumerate(serialized):
        found.setdefault(one.type_url, {})[one.name] = protojson(message_class(one.type_url).FromString(one.body))
        (folder / f"{index:04d}.{one.type_url.rpartition('.')[2]}.binpb").write_bytes(one.body)
    (target / "resources.json").write_text(json.dumps(found, indent=1, sort_keys=True))
