"""Facts on disk: which objects are quarantined, with the form that Envoy refuses and the one in force instead. Called by `control`.

Without it a control process that starts anew would send the refused form once more, and have no last good one to fall back to.
"""

import json
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path

import structlog

from lateen.base.names import ObjectRef
from lateen.config.decode import decode
from lateen.config.kinds.objects import Object
from lateen.node.disk import write_durably
from lateen.sources.plain import as_json


@dataclass(frozen=True)
class Record:
    """One quarantine. `refused`: the written form. `last_good`: what is in force; None: nothing."""

    object: ObjectRef
    refused: Object
    last_good: Object | None
    reason: str


class Journal:
    """A small file, replaced whole. Blocks: call it from a thread where that matters."""

    def __init__(self, path: Path) -> None:
        self._path = path
        self._log = structlog.get_logger("sources.journal")

    def write(self, records: Iterable[Record]) -> None:
        """Makes `records` all there is. A disk that takes nothing is logged: facts then last as long as the process."""
        plain = [
            {
                "object": [one.object.kind, one.object.namespace, one.object.name],
                "refused": as_json(one.refused, reveals=True),
                "last_good": as_json(one.last_good, reveals=True) if one.last_good is not None else None,
                "reason": one.reason,
            }
            for one in records
        ]
        try:
            self._path.parent.mkdir(parents=True, exist_ok=True)
            write_durably(self._path, json.dumps(plain).encode(), 0o600)
        except OSError as error:
            self._log.error("facts are not kept", file=str(self._path), error=str(error))

    def read(self) -> tuple[Record, ...]:
        """What was written last; nothing if it is not there or not readable."""
        try:
            plain = json.loads(self._path.read_bytes())
            return tuple(
                Record(ObjectRef(*one["object"]), _object(one["refused"]), _object(one["last_good"]) if one["last_good"] else None, one["reason"])
                for one in plain
            )
        except FileNotFoundError:
            return ()
        except (OSError, ValueError, KeyError, TypeError) as error:
            self._log.warning("facts are not readable", file=str(self._path), error=str(error))
            return ()


def _object(plain: object) -> Object:
    """Raises ValueError."""
    found = decode(json.dumps(plain), "journal").objects
    if len(found) != 1:
        raise ValueError("not one object")
    return found[0]
