"""Values that must not be printed: keys and tokens carry this type from the edge on, so that no log, error or dump shows them."""

from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class Secret:
    """Bytes nobody may see. Printing, formatting and logging give `[redacted]`; `reveal()` is the one way in, easy to find in a review."""

    _value: bytes

    def reveal(self) -> bytes:
        """The bytes themselves."""
        return self._value

    def __repr__(self) -> str:
        return "[redacted]"

    __str__ = __repr__
