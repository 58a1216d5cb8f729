"""How rules report: findings about one object, collected."""

from lateen.base.findings import Finding, Severity
from lateen.base.names import ObjectRef
from lateen.config import codes
from lateen.config.kinds.objects import Object

MAX_MESSAGE = 600
"""Characters of a message: what it quotes may be of any size."""


class Report:
    """Findings about one object. Fields are paths within it: `spec.http[0].timeout`."""

    def __init__(self, item: Object) -> None:
        self.object = ObjectRef(type(item).__name__, item.meta.namespace, item.meta.name)
        """What the findings are about."""
        self._findings: list[Finding] = []

    def error(self, field: str, message: str, hint: str = "") -> None:
        """The object is refused."""
        self._findings.append(Finding(codes.INVALID, Severity.ERROR, _shortened(message), self.object, field, hint))

    def warning(self, field: str, message: str, hint: str = "") -> None:
        """The object is taken, and hardly does what its writer means."""
        self._findings.append(Finding(codes.SUSPICIOUS, Severity.WARNING, _shortened(message), self.object, field, hint))

    def deprecated(self, field: str, instead: str) -> None:
        """The field works, and something else is meant to be used."""
        self._findings.append(Finding(codes.DEPRECATED, Severity.WARNING, "deprecated", self.object, field, f"use {instead}"))

    @property
    def findings(self) -> tuple[Finding, ...]:
        """All of them, in the rules' order."""
        return tuple(self._findings)


def _shortened(message: str) -> str:
    """The message, without the middle of what is too long to read."""
    return message if len(message) <= MAX_MESSAGE else f"{message[: MAX_MESSAGE - 100]} … {message[-90:]}"
