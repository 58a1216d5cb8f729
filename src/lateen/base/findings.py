"""Findings: what is wrong with something a user wrote, as values with a place and a hint.

Made by `config`, `mesh`, `plan`, `xds` and `insight`; printed by `cli`; never raised.
"""

from dataclasses import dataclass
from enum import IntEnum

from lateen.base.names import ObjectRef


class Severity(IntEnum):
    """Error: the object (or the part named) is refused or will not work. Warning: works, hardly as meant. Info: worth knowing."""

    ERROR = 3
    WARNING = 2
    INFO = 1


@dataclass(frozen=True, order=True)
class Place:
    """Where in a user's file. Lines and columns count from 1; 0: the file as a whole."""

    source: str
    line: int = 0
    column: int = 0

    def __str__(self) -> str:
        return f"{self.source}:{self.line}:{self.column}" if self.line else self.source


@dataclass(frozen=True)
class Finding:
    """One thing a user should know. `code`: stable (IST0101, LTN0001 …). `place`: None until resolved.

    `field`: a path such as `spec.http[0].route[1].weight`; empty: the whole object.
    """

    code: str
    severity: Severity
    message: str
    object: ObjectRef | None = None
    field: str = ""
    hint: str = ""
    place: Place | None = None

    def __str__(self) -> str:
        where = f"{self.place}: " if self.place else ""
        what = f"{self.object}: " if self.object else ""
        path = f"{self.field}: " if self.field else ""
        return f"{where}{self.severity.name.lower()} [{self.code}] {what}{path}{self.message}" + (f" ({self.hint})" if self.hint else "")
