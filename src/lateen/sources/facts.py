"""Facts that keep an older form of an object in force: the hold (its partner is not there yet) and the quarantine (a proxy refuses it). Without I/O.

Called by `control.pilot` before each revision; the forms kept go into the overlay, so that what the engine computes has no memory of its own.

The hold: an edit often comes in several saves, in any order. A VirtualService that names a host or subset which is not there *yet* keeps the form
that is in force, and a DestinationRule, Service or ServiceEntry that drops one which is still used keeps its, for at most `HOLD_S`. After that
what is written goes out as Istio would send it. Ours: house.md, "How a change travels", 3.
"""

from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from itertools import chain

from lateen.base.findings import Finding, Severity
from lateen.base.names import ObjectRef, full_host
from lateen.config.kinds.istio.destination_rule import DestinationRule
from lateen.config.kinds.istio.service_entry import ServiceEntry
from lateen.config.kinds.istio.virtual_service import VirtualService
from lateen.config.kinds.kubernetes.service import Service
from lateen.config.kinds.objects import Object
from lateen.sources.journal import Record
from lateen.sources.overlay import Overlay

HOLD_S = 5.0
"""How long an edit may wait for its other half."""

Target = tuple[str, str]
"""(host, subset); an empty subset is the host itself."""
_OFFERING = (DestinationRule, Service, ServiceEntry)


@dataclass(frozen=True)
class Hold:
    """The form in force stays until `until` (the caller's clock), or until nothing is missing."""

    object: ObjectRef
    missing: frozenset[Target]
    until: float


def used_targets(item: VirtualService) -> frozenset[Target]:
    """What a VirtualService routes to, mirrors included."""
    return frozenset(_used(item))


def _used(item: VirtualService) -> Iterator[Target]:
    spec = item.spec
    destinations = [one.destination for route in spec.http for one in route.route if one.destination is not None]
    destinations += [one.destination for route in spec.tls for one in route.route if one.destination is not None]
    destinations += [one.destination for route in spec.tcp for one in route.route if one.destination is not None]
    for route in spec.http:
        destinations += [route.mirror] if route.mirror is not None else []
        destinations += [one.destination for one in route.mirrors if one.destination is not None]
    for one in destinations:
        host = full_host(one.host, item.meta.namespace)
        yield host, ""
        if one.subset:
            yield host, one.subset


def offered_targets(item: Object) -> frozenset[Target]:
    """What an object makes it possible to route to."""
    match item:
        case Service():
            return frozenset({(full_host(item.meta.name, item.meta.namespace), "")})
        case ServiceEntry():
            return frozenset((host, "") for host in item.spec.hosts)
        case DestinationRule():
            host = full_host(item.spec.host, item.meta.namespace)
            return frozenset((host, subset.name) for subset in item.spec.subsets)
        case _:
            return frozenset()


HELD = "LTN0601"
QUARANTINED = "LTN0602"


def _named(target: Target) -> str:
    return f"{target[0]} subset {target[1]}" if target[1] else target[0]


class Facts:
    """The holds and quarantines in force."""

    def __init__(self) -> None:
        self.holds: dict[ObjectRef, Hold] = {}
        self.quarantined: dict[ObjectRef, Object | None] = {}
        """Object → the written form that is refused (None: its removal is)."""
        self._reasons: dict[ObjectRef, str] = {}
        self._last_good: dict[ObjectRef, Object | None] = {}
        self._given_up: dict[ObjectRef, Object | None] = {}
        """Written forms whose hold has expired: they are not held again."""

    @property
    def next_expiry(self) -> float | None:
        """When to call `reconcile` again though nothing has changed; None: never."""
        return min((hold.until for hold in self.holds.values()), default=None)

    @property
    def findings(self) -> tuple[Finding, ...]:
        """What is kept back, and why."""
        found = []
        for ref, hold in sorted(self.holds.items()):
            missing = ", ".join(_named(target) for target in sorted(hold.missing))
            is_route = ref.kind == VirtualService.__name__
            message = f"its last form stays for {HOLD_S:.0f} s: {f'not there yet: {missing}' if is_route else f'still routed to: {missing}'}"
            found.append(Finding(HELD, Severity.WARNING, message, ref, hint="save the other half of the edit"))
        for ref, reason in sorted(self._reasons.items()):
            found.append(Finding(QUARANTINED, Severity.ERROR, f"Envoy refuses it, its last good form stays in force: {reason}", ref))
        return tuple(found)

    @property
    def records(self) -> tuple[Record, ...]:
        """The quarantines, for the journal; a refused removal is not kept."""
        return tuple(Record(ref, refused, self._last_good[ref], self._reasons[ref]) for ref, refused in sorted(self.quarantined.items()) if refused is not None)

    def restore(self, overlay: Overlay, records: Iterable[Record]) -> None:
        """Takes up the quarantines of an earlier process, as far as the refused form is still what is written."""
        for one in records:
            if overlay.written(one.object) == one.refused:
                self.quarantine(overlay, one.object, one.last_good, one.reason)

    def quarantine(self, overlay: Overlay, ref: ObjectRef, last_good: Object | None, reason: str) -> None:
        """A proxy's refusal of the written form was reproduced: `last_good` (None: no object) stays in force until another form is written."""
        self.quarantined[ref] = overlay.written(ref)
        self._reasons[ref], self._last_good[ref] = reason, last_good
        overlay.keep(ref, last_good)

    def reconcile(self, overlay: Overlay, now: float) -> None:
        """Decides about what is stirred and what is held. Cost: O(n) over objects that name or offer targets, if one of them is concerned."""
        for ref in [ref for ref, bad in self.quarantined.items() if overlay.written(ref) != bad]:
            del self.quarantined[ref], self._reasons[ref], self._last_good[ref]
            overlay.let_go(ref)
        concerned = {ref for ref in (*overlay.stirred, *self.holds) if ref.kind in _KINDS and ref not in self.quarantined}
        if not concerned:
            return
        written = {ref: item for ref in overlay.refs if (item := overlay.written(ref)) is not None}
        offered = frozenset(chain.from_iterable(offered_targets(item) for item in written.values() if isinstance(item, _OFFERING)))
        for ref in sorted(concerned):
            if ref.kind == VirtualService.__name__:
                self._decide(overlay, ref, self._missing(written.get(ref), offered), now)
        used = self._used_now(overlay, written)
        for ref in sorted(concerned):
            if ref.kind != VirtualService.__name__:
                before = overlay.in_force.get(ref)
                dropped = (offered_targets(before) if before is not None else frozenset()) - offered
                self._decide(overlay, ref, dropped & used, now)

    @staticmethod
    def _missing(item: Object | None, offered: frozenset[Target]) -> frozenset[Target]:
        if not isinstance(item, VirtualService):
            return frozenset()
        return frozenset(target for target in used_targets(item) if target not in offered and not _has_wildcard(target, offered))

    def _used_now(self, overlay: Overlay, written: Mapping[ObjectRef, Object]) -> frozenset[Target]:
        """What the routes in force after this revision use."""
        routes: Iterable[Object | None] = (
            overlay.in_force.get(ref) if ref in self.holds else item for ref, item in written.items() if isinstance(item, VirtualService)
        )
        return frozenset(chain.from_iterable(used_targets(item) for item in routes if isinstance(item, VirtualService)))

    def _decide(self, overlay: Overlay, ref: ObjectRef, missing: frozenset[Target], now: float) -> None:
        form, hold = overlay.written(ref), self.holds.get(ref)
        if ref in self._given_up and self._given_up[ref] != form:
            del self._given_up[ref]
        if missing and ref not in self._given_up:
            if hold is None:
                hold = Hold(ref, missing, now + HOLD_S)
                overlay.keep(ref, overlay.in_force.get(ref))
            if now < hold.until:
                self.holds[ref] = Hold(ref, missing, hold.until)
                return
            self._given_up[ref] = form
        if hold is not None:
            self.holds.pop(ref, None)
            overlay.let_go(ref)


_KINDS = frozenset(kind.__name__ for kind in (VirtualService, *_OFFERING))


def _has_wildcard(target: Target, offered: frozenset[Target]) -> bool:
    """Whether a wildcard host covers it."""
    host, subset = target
    labels = host.split(".")
    return any((".".join(("*", *labels[position:])), subset) in offered for position in range(1, len(labels)))
