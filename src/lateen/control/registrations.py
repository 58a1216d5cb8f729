"""Registrations on disk: who has joined a WorkloadGroup, and how they last were. One row changes when one of them does. Called by `control.registrar`."""

import json
import sqlite3
from collections.abc import Iterator
from dataclasses import asdict
from pathlib import Path
from typing import Final

import structlog

from lateen.node.disk import open_tables
from lateen.sources.registration import Registrant

_SCHEMA: Final = "CREATE TABLE IF NOT EXISTS registered (who TEXT PRIMARY KEY, health INTEGER) WITHOUT ROWID"
_log = structlog.get_logger("control.registrations")


class Registrations:
    """A table of registrants and their health (None: never said). What cannot be read or written is logged, and lost with the process."""

    def __init__(self, path: Path) -> None:
        """Opens the file at `path` (0600). A damaged one is put aside: who is there comes again by itself."""
        self._path = path
        self._table = self._opened()

    def _opened(self) -> sqlite3.Connection | None:
        for is_last in (False, True):
            try:
                self._path.parent.mkdir(parents=True, exist_ok=True)
                return open_tables(self._path, _SCHEMA, 1.0)
            except (sqlite3.Error, OSError) as error:
                _log.warning("registrations are not readable", file=str(self._path), error=str(error))
            if not is_last:
                for suffix in ("", "-wal", "-shm"):
                    Path(f"{self._path}{suffix}").unlink(missing_ok=True)
        return None

    def kept(self) -> Iterator[tuple[Registrant, bool | None]]:
        """All there are."""
        try:
            rows = self._table.execute("SELECT who, health FROM registered ORDER BY who").fetchall() if self._table else []
        except sqlite3.Error as error:
            _log.warning("registrations are not readable", file=str(self._path), error=str(error))
            return
        for who, health in rows:
            try:
                plain = json.loads(who)
                labels = tuple((key, value) for key, value in plain.pop("labels"))
                yield Registrant(**plain, labels=labels), None if health is None else bool(health)
            except (ValueError, KeyError, TypeError, AttributeError) as error:
                _log.warning("a registration is not readable", file=str(self._path), error=str(error))

    def keep(self, one: Registrant, health: bool | None) -> None:
        """Adds or replaces one."""
        self._write("INSERT OR REPLACE INTO registered VALUES (?, ?)", _spelled(one), None if health is None else int(health))

    def drop(self, one: Registrant) -> None:
        """Forgets one."""
        self._write("DELETE FROM registered WHERE who = ?", _spelled(one))

    def _write(self, statement: str, *values: object) -> None:
        try:
            if self._table is not None:
                self._table.execute(statement, values)
        except sqlite3.Error as error:
            _log.error("registrations are not kept", file=str(self._path), error=str(error))


def _spelled(one: Registrant) -> str:
    return json.dumps(asdict(one), sort_keys=True)
