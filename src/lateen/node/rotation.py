"""When a certificate is renewed: at half its life, with jitter, and again and again when that fails.

Sans-I/O; called by `node.certificates` and by `control` for its own.

Times are wall-clock seconds: a machine that slept past the hour renews when it wakes, which a monotonic timer would miss.
"""

from dataclasses import dataclass
from typing import Final

HALF: Final = 0.5
JITTER: Final = 0.1
"""Renewals spread over a tenth of the life, so that pods that started together do not ask together."""
_FIRST_PAUSE_S: Final = 0.2
_LONGEST_PAUSE_S: Final = 5.0
"""So soon after its return does everybody have control's signature."""
_SHARE_OF_REST: Final = 0.1
"""No pause is longer than this share of what is left of the life."""
LONGEST_SLEEP_S: Final = 30.0
"""Whoever sleeps until `due_s` wakes at least so often and looks at the clock, which may have jumped."""


@dataclass(frozen=True, slots=True)
class Validity:
    """From when to when a certificate holds, and when it was issued (it begins earlier, for clocks that are behind). Unix seconds."""

    not_before_s: float
    not_after_s: float
    issued_s: float


class Rotation:
    """Decides when to ask for the next certificate. `chance`: a number in [0, 1), drawn anew by the caller for each decision."""

    def __init__(self, held: Validity | None = None, chance: float = 0.0) -> None:
        """`held`: what is there already (from disk). None: nothing, so it is due at once."""
        self._held = held
        self._pause_s = _FIRST_PAUSE_S
        self.due_s = _renewal(held, chance) if held else 0.0

    def on_issued(self, validity: Validity, chance: float) -> None:
        """A certificate came."""
        self._held = validity
        self._pause_s = _FIRST_PAUSE_S
        self.due_s = _renewal(validity, chance)

    def on_failed(self, now_s: float, chance: float) -> None:
        """None came: the next attempt, sooner where life is short."""
        pause_s = self._pause_s
        if self._held is not None and self._held.not_after_s > now_s:
            pause_s = min(pause_s, max(_FIRST_PAUSE_S, (self._held.not_after_s - now_s) * _SHARE_OF_REST))
        self.due_s = now_s + pause_s * (0.5 + chance / 2)
        self._pause_s = min(_LONGEST_PAUSE_S, self._pause_s * 2)

    def sleep_s(self, now_s: float) -> float:
        """How long to sleep before looking again."""
        return min(LONGEST_SLEEP_S, max(0.0, self.due_s - now_s))

    def is_due(self, now_s: float) -> bool:
        """Whether to ask now. Also when the clock jumped back to before the certificate begins, or it has ended."""
        if self._held is not None and not self._held.not_before_s <= now_s < self._held.not_after_s and self._pause_s == _FIRST_PAUSE_S:
            return True
        return now_s >= self.due_s


def _renewal(validity: Validity, chance: float) -> float:
    life_s = max(0.0, validity.not_after_s - validity.issued_s)
    return validity.issued_s + life_s * (HALF + JITTER * (chance - 0.5))
