"""One delta discovery stream, without its socket: requests and published snapshots in, actions out.

Level-triggered: what is sent is always what is published minus what was sent, computed when it can be sent; at most one response per type is in
flight, so a slow client gets the latest state and nothing queues. The order keeps traffic whole:

    CDS → EDS of every new or changed cluster, even when its endpoints are equal (an updated cluster warms until they come again)
        → acknowledged → LDS, RDS, ECDS → acknowledged → after a grace, removals (listeners go at once: removing one drains it)

Time is an argument. Source: Envoy, xDS protocol (delta); the order is ours: house.md, "How a change travels".
"""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field

from lateen.serve.snapshot import NOTHING, Entry, Snapshot
from lateen.wire.delta import DeltaRequest, encode_response
from lateen.wire.stand_in import stand_in
from lateen.xds.resource import ResourceType

REMOVAL_GRACE_S = 15.0
"""How long a resource stays after nothing refers to it: requests under way still hold its routes."""
ENDPOINTS_WAIT_S = 2.0
"""How long routes wait, once new clusters are acknowledged, for the client to take their endpoints: Envoy asks within milliseconds; after this it is a
client that won't."""
MAX_NAMES = 100_000
"""Names one client may subscribe to per type: no honest mesh is near it, and each costs memory."""
MAX_TYPES = 32
"""Types one stream may ask for: Envoy knows about ten."""

CDS, EDS = ResourceType.CLUSTER.value, ResourceType.ENDPOINT.value
LDS, RDS = ResourceType.LISTENER.value, ResourceType.ROUTE.value
ECDS, SDS = ResourceType.EXTENSION.value, ResourceType.SECRET.value
WILDCARD_TYPES = frozenset({CDS, LDS})
ROUTING = (LDS, RDS, ECDS)
"""Types that refer to clusters: they wait until those are warm."""

Snapshots = Mapping[str, Snapshot]
"""Per type URL, of one view, of one published revision."""


@dataclass(frozen=True, slots=True)
class Send:
    """Write this response to the stream."""

    fragments: tuple[bytes, ...] = field(repr=False)
    type_url: str
    nonce: str
    names: tuple[str, ...]
    removed: tuple[str, ...]
    size_bytes: int
    """Of the fragments."""

    def encoded(self) -> bytes:
        """Its bytes. Made when they are about to leave: what waits for slow clients costs references and no copies."""
        return encode_response(self.type_url, self.nonce, self.fragments, self.removed)


@dataclass(frozen=True, slots=True)
class Want:
    """Names that the client asked for and that its view does not list: have them computed and published."""

    type_url: str
    names: frozenset[str]


@dataclass(frozen=True, slots=True)
class Unwant:
    """The reverse of `Want`."""

    type_url: str
    names: frozenset[str]


@dataclass(frozen=True, slots=True)
class Rejected:
    """The client refused a response (NACK). A claim, not a fact. `resources`: (name, version) of all that was in it."""

    type_url: str
    message: str
    resources: tuple[tuple[str, str], ...]


@dataclass(frozen=True, slots=True)
class Settled:
    """The client has acknowledged, or refused, everything that is published, removals in grace aside."""

    revision: int


@dataclass(frozen=True, slots=True)
class Close:
    """End the stream: the client broke a bound."""

    message: str


Action = Send | Want | Unwant | Rejected | Settled | Close


class Subscription:
    """What is known of one type on one stream. Read by status pages; written by the session alone."""

    __slots__ = (
        "acked_at",
        "base",
        "extras",
        "in_flight",
        "in_flight_names",
        "is_grace_removal",
        "is_wildcard",
        "last_nonce",
        "leftover",
        "must_answer",
        "owed",
        "rejected",
        "rejection",
        "reported",
        "sent_at",
        "subscribed",
        "unanswered",
        "url",
    )

    def __init__(self, url: str) -> None:
        self.url = url
        self.is_wildcard = False
        self.subscribed: frozenset[str] = frozenset()
        self.base: Snapshot | None = None
        """What was sent, as far as the client wants it."""
        self.reported: Mapping[str, str] = {}
        """What the client brought along from an earlier stream; counts until something was sent."""
        self.owed: set[str] = set()
        """Names to send even if they are equal."""
        self.extras: frozenset[str] = frozenset()
        self.leftover: dict[str, float | None] = {}
        """Names that the client holds and that are no more; since when nothing refers to them (None: something may)."""
        self.unanswered: set[str] = set()
        """Clusters fetched on demand that are not there. The client is told when its routes are as published: what waits for such a cluster passes them
        anew."""
        self.must_answer = False
        self.in_flight = ""
        self.in_flight_names: tuple[str, ...] = ()
        self.is_grace_removal = False
        """What is in flight only removes what was past its grace."""
        self.last_nonce = ""
        self.sent_at: float | None = None
        self.acked_at: float | None = None
        self.rejected: dict[str, str] = {}
        """Name → version that the client refused."""
        self.rejection = ""

    def wants(self, snapshot: Snapshot, name: str) -> bool:
        """Whether the client gets `name` if it exists."""
        return name in self.subscribed or (self.is_wildcard and name in snapshot.listed)

    @property
    def fetches(self) -> bool:
        """Whether it is of an Envoy that fetches clusters on demand: it gets all that is listed, and still asks by name."""
        return self.url == CDS and self.is_wildcard and bool(self.subscribed)

    def held(self, name: str) -> str | None:
        """The version that the client was sent; None: it has none."""
        if self.base is None:
            return self.reported.get(name)
        return self.base.version(name) if self.wants(self.base, name) else None

    def is_even(self, snapshot: Snapshot) -> bool:
        """Nothing is to be said: all of it was sent, nothing is owed. Most types on most occasions."""
        return self.base is snapshot and not self.owed and not self.must_answer and not (self.leftover and self.url == LDS)

    def due(self, snapshot: Snapshot) -> set[str]:
        """Names to send: published and wanted, and not equal to what the client has, or owed."""
        if self.base is snapshot and not self.owed:
            return set()
        due = {name for name in self.owed if name in snapshot.entries and self.wants(snapshot, name)}
        if self.base is snapshot:
            return due
        names: Iterable[str] = snapshot.entries
        if self.base is not None and self.base.serial == snapshot.parent:
            names = snapshot.changed
        for name in names:
            version = snapshot.version(name)
            if version is not None and self.wants(snapshot, name) and version != self.held(name):
                due.add(name)
        return due

    def gone(self, snapshot: Snapshot) -> list[str]:
        """Names that the client holds and that are not published for it any more."""
        if self.base is snapshot:
            return []
        if self.base is None:
            names: Iterable[str] = self.reported
        elif self.base.serial == snapshot.parent:
            names = snapshot.changed
        else:
            names = self.base.entries
        lost = (name for name in names if not (name in snapshot.entries and self.wants(snapshot, name)) and self.held(name) is not None)
        return [name for name in lost if not self.is_open(snapshot, name)]

    def is_open(self, snapshot: Snapshot, name: str) -> bool:
        """Whether a name that the client asked for is still to be computed: its view has changed, and the new one does not list it."""
        return name in self.extras and name not in snapshot.entries and name not in snapshot.absent and name not in snapshot.listed

    def differs(self, snapshot: Snapshot) -> bool:
        """Whether something is to be sent; removals that wait for their grace don't count."""
        return bool(self.due(snapshot) or (self.url == LDS and self.gone(snapshot)))

    def look_for(self, names: Iterable[str]) -> None:
        """Names that may be published or not, which is not known yet. One that turns out not to be is left over where the client holds it."""
        for name in names:
            self.owed.add(name)
            if self.url != LDS and self.held(name) is not None:
                self.leftover.setdefault(name, None)

    def rebase(self, snapshot: Snapshot) -> None:
        """What is published counts as sent from here on; what the client holds beyond it is left over."""
        if self.base is snapshot:
            return
        for name in self.gone(snapshot):
            self.leftover.setdefault(name, None)
        self.look_for(name for name in self.extras if self.is_open(snapshot, name))
        for name in [name for name in self.leftover if name in snapshot.entries and self.wants(snapshot, name)]:
            del self.leftover[name]
        self.unanswered.difference_update([name for name in self.unanswered if name in snapshot.entries])
        if self.subscribed is not snapshot.listed and self.subscribed == snapshot.listed:
            self.subscribed = snapshot.listed  # one set for all sessions of the view: a set of 1000 names is 32 kB
        self.base, self.reported = snapshot, {}


class Session:
    """The state of one stream. Every method returns the actions it asks for, in order."""

    def __init__(self, unfinished: Iterable[str] = ()) -> None:
        """`unfinished`: of the same client's last stream, so that a cluster which was warming when it broke gets its endpoints on this one."""
        self.subscriptions: dict[str, Subscription] = {}
        self._first: tuple[str, ...] = ()
        """Types that are offered before those that route, in order."""
        self.revision = 0
        self.wake_at: float | None = None
        """When `on_tick` has something to do; None: not by time alone."""
        self._snapshots: Snapshots | None = None
        self._awaited: dict[str, bool] = dict.fromkeys(unfinished, False)
        """Clusters that were sent and whose endpoints the client has not acknowledged since; whether those have been sent since."""
        self._awaited_until: float | None = None
        self._parting: dict[str, Entry] = {}
        """Endpoints of clusters that went after they were sent and before those were: requests of the routes until now wait for them."""
        self._given_up: set[str] = set()
        """Clusters that were awaited for too long, or that are published no more; the client may warm them still."""
        self._is_settled = True
        self.is_concerned = False
        """The last `on_published` brought something that this client gets."""

    @property
    def unfinished(self) -> set[str]:
        """Clusters that the client may still be warming."""
        return self._given_up.union(self._awaited)

    @property
    def is_settled(self) -> bool:
        """Everything published has been answered, removals in grace aside."""
        return self._is_settled

    def on_published(self, snapshots: Snapshots, revision: int, now: float) -> tuple[Action, ...]:
        """A new revision, or another view: sends what may be sent. Afterwards `is_concerned` says whether it changes anything for this client."""
        before = self._snapshot(EDS).entries
        self._snapshots, self.revision = snapshots, revision
        if self._awaited or self._parting:
            there = self._snapshot(EDS).entries
            self._parting |= {name: before[name] for name, is_sent in self._awaited.items() if not is_sent and name in before}
            self._parting = {name: entry for name, entry in self._parting.items() if name not in there}
        self.is_concerned = any(subscription.differs(self._snapshot(url)) for url, subscription in self.subscriptions.items())
        return self._advance(now)

    def on_tick(self, now: float) -> tuple[Action, ...]:
        """Time has passed."""
        return self._advance(now)

    def on_request(self, request: DeltaRequest, now: float) -> tuple[Action, ...]:
        """An answer, a change of subscriptions, or both."""
        subscription = self.subscriptions.get(request.type_url)
        actions: list[Action] = []
        is_first = subscription is None
        if subscription is None:
            subscription = self.subscriptions[request.type_url] = Subscription(request.type_url)
            plain = (url for url in self.subscriptions if url not in ROUTING and url not in (CDS, EDS))
            self._first = (*(url for url in (CDS, EDS) if url in self.subscriptions), *plain)
            subscription.reported = request.initial_versions
            subscription.must_answer = True
            subscription.is_wildcard = request.type_url in WILDCARD_TYPES and not request.subscribe
        elif request.nonce and request.nonce == subscription.in_flight:
            actions += self._answered(subscription, request, now)
        if request.subscribe:
            self._subscribe(subscription, self._own(request), is_first)
            if subscription.url == EDS:  # a cluster that was sent just now waits for its endpoints, whatever the client brought along
                subscription.owed.update(name for name in request.subscribe if name in self._awaited)
        if request.unsubscribe:
            actions += self._unsubscribe(subscription, request.unsubscribe)
            if subscription.url == EDS:  # endpoints that cross this request on the wire are not taken
                self._awaited.update((name, False) for name in request.unsubscribe if name in self._awaited)
            elif subscription.url == CDS:  # a cluster that is given up warms no more
                self._awaited = {name: is_sent for name, is_sent in self._awaited.items() if name not in request.unsubscribe}
        if len(subscription.subscribed) > MAX_NAMES or len(request.initial_versions) > MAX_NAMES:
            return (*actions, Close(f"more than {MAX_NAMES} names of one type"))
        if len(self.subscriptions) > MAX_TYPES:
            return (*actions, Close(f"more than {MAX_TYPES} types"))
        return (*actions, *self._advance(now))

    def on_close(self) -> tuple[Action, ...]:
        """The stream has ended."""
        return tuple(Unwant(subscription.url, subscription.extras) for subscription in self.subscriptions.values() if subscription.extras)

    def _answered(self, subscription: Subscription, request: DeltaRequest, now: float) -> list[Action]:
        names = subscription.in_flight_names
        subscription.in_flight, subscription.in_flight_names = "", ()
        subscription.acked_at = now
        if subscription.url == EDS:
            self._given_up.difference_update(names)
            for name in names:
                if self._awaited.get(name):
                    del self._awaited[name]
            if not self._awaited:
                self._awaited = {}  # an emptied dict keeps the room it once took
        if subscription.url == CDS:
            self._awaited_until = None  # it is only now that the client can ask for their endpoints
            self._given_up = {name for name in self._given_up if name in subscription.leftover or subscription.held(name) is not None}
        if request.error is None:
            if subscription.rejected:
                for name in names:
                    subscription.rejected.pop(name, None)
                if not subscription.rejected:
                    subscription.rejection = ""
            return []
        resources = tuple((name, subscription.held(name) or "") for name in names)
        subscription.rejected.update(resources)
        subscription.rejection = request.error
        return [Rejected(subscription.url, request.error, resources)]

    def _own(self, request: DeltaRequest) -> tuple[str, ...]:
        """The names that a client asks for, as our own strings where we know them: a thousand clients ask for the same thousand names."""
        entries = self._snapshot(request.type_url).entries
        return tuple(entries[name].name if name in entries else name for name in request.subscribe)

    @staticmethod
    def _subscribe(subscription: Subscription, names: tuple[str, ...], is_first: bool) -> None:
        added = frozenset(names)
        if "*" in added:
            added -= {"*"}
            subscription.is_wildcard = True
            subscription.must_answer = True
        subscription.subscribed |= added
        # Asking again in a stream means "send it again": Envoy does so for a cluster that it warms anew. On a new stream, what it brought along counts.
        subscription.owed |= {name for name in added if name not in subscription.reported} if is_first else added

    @staticmethod
    def _unsubscribe(subscription: Subscription, names: tuple[str, ...]) -> list[Action]:
        dropped = frozenset(names)
        if "*" in dropped:
            subscription.is_wildcard = False
        subscription.subscribed -= dropped
        subscription.owed -= dropped
        subscription.unanswered -= dropped
        for name in dropped:
            subscription.leftover.pop(name, None)
        unwanted = subscription.extras & dropped
        subscription.extras -= unwanted
        return [Unwant(subscription.url, unwanted)] if unwanted else []

    def _advance(self, now: float) -> tuple[Action, ...]:
        if self._snapshots is None:
            return ()
        actions: list[Action] = []
        for url in self._first:
            self._offer(url, now, actions)
        is_open = self._clusters_are_warm(now)
        if is_open:
            for url in ROUTING:
                self._offer(url, now, actions)
        if is_open and not any(self._is_busy(url) for url in ROUTING):
            self._remove(now, actions)
        was_settled, self._is_settled = self._is_settled, not any(self._is_busy(url) for url in self.subscriptions)
        if self._is_settled and not was_settled:
            actions.append(Settled(self.revision))
        self.wake_at = self._next_wake(is_open)
        return tuple(actions)

    def _snapshot(self, url: str) -> Snapshot:
        return (self._snapshots or {}).get(url, NOTHING)

    def _is_busy(self, url: str) -> bool:
        """Something of this type is in flight or has still to be sent."""
        subscription = self.subscriptions.get(url)
        if subscription is None:
            return False
        if subscription.in_flight and not subscription.is_grace_removal:
            return True
        return bool(subscription.owed or subscription.must_answer or subscription.differs(self._snapshot(url)))

    def _clusters_are_warm(self, now: float) -> bool:
        if self._is_busy(CDS):
            return False
        if not self._awaited:
            return True
        listed = self._snapshot(EDS).entries
        self._given_up.update(name for name in self._awaited if name not in listed)
        self._awaited = {name: is_sent for name, is_sent in self._awaited.items() if name in listed}
        if self._awaited_until is None:
            self._awaited_until = now + ENDPOINTS_WAIT_S
        if self._awaited and now >= self._awaited_until and not self._owes_endpoints():
            self._given_up.update(self._awaited)
            self._awaited.clear()
        return not self._awaited

    def _owes_endpoints(self) -> bool:
        """The client has asked for endpoints that wait behind others in flight: it is not that it won't take them."""
        endpoints = self.subscriptions.get(EDS)
        return endpoints is not None and bool(endpoints.in_flight) and not endpoints.owed.isdisjoint(self._awaited)

    def _offer(self, url: str, now: float, actions: list[Action]) -> None:
        """Sends what is due of a type, if nothing of it is in flight."""
        subscription = self.subscriptions.get(url)
        if subscription is None or subscription.in_flight:
            return
        snapshot = self._snapshot(url)
        if subscription.is_even(snapshot):
            return
        is_known = snapshot.serial != NOTHING.serial
        if is_known and subscription.base is None:  # what a client brought along from beyond what its view lists is yet to be computed
            subscription.look_for(name for name in subscription.reported if name in subscription.subscribed and not _is_there(snapshot, name))
        due = subscription.due(snapshot)
        absent = {name for name in subscription.owed if name not in snapshot.entries and (name in snapshot.absent or not is_known)}
        if url != LDS and not absent.isdisjoint(subscription.leftover):
            subscription.owed -= absent & subscription.leftover.keys()
            absent -= subscription.leftover.keys()
        parting = {name for name in subscription.owed if name in self._parting and name not in snapshot.entries} if url == EDS else set()
        due |= parting
        absent -= parting
        if subscription.fetches:
            subscription.unanswered |= absent
            subscription.owed -= absent
            absent = set()
        unknown = subscription.owed - due - absent - subscription.extras
        if subscription.fetches:  # wanted even where the view lists it: Envoy asks once, and the view may cease to list it
            unknown |= subscription.subscribed - subscription.extras
        if is_known and unknown:
            subscription.extras |= unknown
            actions.append(Want(url, frozenset(unknown)))
        subscription.rebase(snapshot)
        if url == LDS:
            absent |= subscription.leftover.keys()
        has_more = bool(subscription.owed or subscription.unanswered)  # the answer is that, but for a wildcard
        is_answer = subscription.must_answer and (subscription.is_wildcard or not has_more)
        if not (due or absent or is_answer):
            return
        for name in absent:
            subscription.leftover.pop(name, None)
        if url == SDS and len(due) > 1:  # one that Envoy cannot load, for a file that is not there, would take all of its response with it
            first = min(due)
            subscription.owed |= due - {first}
            due = {first}
        subscription.owed -= due | absent
        subscription.must_answer = False
        self._send(subscription, tuple(sorted(due)), tuple(sorted(absent)), now, actions)
        if url == CDS:
            self._await_endpoints(due, now)
        elif url == EDS and self._awaited:
            self._awaited.update((name, True) for name in due if name in self._awaited)

    def _await_endpoints(self, clusters: set[str], now: float) -> None:
        expected = clusters & self._snapshot(EDS).entries.keys()
        if not expected:
            return
        self._awaited.update(dict.fromkeys(expected, False))
        self._awaited_until = now + ENDPOINTS_WAIT_S
        endpoints = self.subscriptions.get(EDS)
        if endpoints is not None:
            endpoints.owed |= {name for name in expected if name in endpoints.subscribed}

    def _remove(self, now: float, actions: list[Action]) -> None:
        """Everything that routes is as published and acknowledged: says what is not there, starts the grace of what is left over, and removes what is past
        it."""
        for subscription in self.subscriptions.values():
            if subscription.unanswered and not subscription.in_flight:
                names, subscription.unanswered = tuple(sorted(subscription.unanswered)), set()
                self._send(subscription, (), names, now, actions)
                subscription.is_grace_removal, subscription.must_answer = True, False
            if not subscription.leftover:
                continue
            for name, since in subscription.leftover.items():
                if since is None:
                    subscription.leftover[name] = now
            if subscription.in_flight:
                continue
            grace = _grace(subscription.url)
            past = sorted(name for name, since in subscription.leftover.items() if since is not None and now >= since + grace)
            if past:
                for name in past:
                    del subscription.leftover[name]
                    self._parting.pop(name, None)
                self._send(subscription, (), tuple(past), now, actions)
                subscription.is_grace_removal = True

    def _send(self, subscription: Subscription, names: tuple[str, ...], removed: tuple[str, ...], now: float, actions: list[Action]) -> None:
        nonce = str(self.revision)
        if subscription.last_nonce.partition(".")[0] == nonce:
            nonce = f"{nonce}.{int(subscription.last_nonce.partition('.')[2] or 0) + 1}"
        entries = self._snapshot(subscription.url).entries
        fragments = tuple(piece for name in names for piece in (entries[name] if name in entries else self._parting[name]).fragment)
        if subscription.fetches:
            fragments += tuple(stand_in(name) for name in removed if name in subscription.subscribed)
            removed = tuple(name for name in removed if name not in subscription.subscribed)
        subscription.in_flight = subscription.last_nonce = nonce
        subscription.in_flight_names, subscription.is_grace_removal = names, False
        subscription.sent_at = now
        actions.append(Send(fragments, subscription.url, nonce, names, removed, sum(map(len, fragments))))

    def _next_wake(self, is_open: bool) -> float | None:
        times = [self._awaited_until] if self._awaited and self._awaited_until is not None and not is_open else []
        for subscription in self.subscriptions.values():
            if subscription.leftover and not subscription.in_flight:
                grace = _grace(subscription.url)
                times += [since + grace for since in subscription.leftover.values() if since is not None]
        return min(times, default=None)


def _is_there(snapshot: Snapshot, name: str) -> bool:
    return name in snapshot.entries or name in snapshot.listed


def _grace(url: str) -> float:
    """Clusters go first: a client that has lost a cluster gives up its endpoints itself."""
    return REMOVAL_GRACE_S if url == CDS else 2 * REMOVAL_GRACE_S
