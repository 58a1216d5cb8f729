"""One Envoy's configuration stream on its way through the node: relayed to control, recorded when accepted, answered from the record when control is away.

Sans-I/O: events in, actions out, time is an argument (seconds of any monotonic clock). `node.relay` owns the sockets and the record. The rules:

- What Envoy asks goes to control; what control answers goes to Envoy, the same bytes.
- When control goes away Envoy notices nothing. When it comes back it is told what Envoy asked for and what it holds, as Envoy itself would tell it
after a reconnect.
- What Envoy asks while control is silent is answered from the last known good after a moment's patience. Nothing is ever taken from Envoy without
control's word;
  a name the record does not hold is answered as not there, which Envoy takes as "for now" (a cluster asked for by name by one that stands in for it).
- How the workload is goes up on every stream, once control knows who speaks.
- If control speaks after the record has answered, its words rest on the belief that Envoy holds nothing: the stream to it begins anew, with the truth.

Source: Envoy, xDS REST and gRPC protocol, the delta variant.
"""

from collections import deque
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field, replace
from typing import Final, Protocol

from lateen.wire.delta import HEALTH_TYPE, DeltaRequest, DeltaResponse, decode_request, decode_response, encode_request, encode_response
from lateen.wire.stand_in import stand_in

CLUSTERS: Final = "type.googleapis.com/envoy.config.cluster.v3.Cluster"
ENDPOINTS: Final = "type.googleapis.com/envoy.config.endpoint.v3.ClusterLoadAssignment"
WILDCARD: Final = "*"
PATIENCE_S: Final = 0.2
"""How long control may be away before the record answers: a restart of control alone is seldom shorter, and an Envoy that starts should not wait."""
DEMAND_PATIENCE_S: Final = 5.0
"""The same for a cluster that a request waits for: the record never has it, and a dead control is back and connected within this. Less than Envoy's own."""
SLOW_S: Final = 2.0
"""How long a connected control may be silent before an Envoy that holds nothing is answered from the record."""


@dataclass(frozen=True, slots=True)
class Known:
    """A resource Envoy has accepted. `fragment`: its field of a response, as control sent it."""

    version: str
    fragment: bytes


class Record(Protocol):
    """The last known good of one proxy."""

    def known(self, type_url: str) -> Mapping[str, Known]:
        """Every resource of a type, by name. Empty: none recorded."""


@dataclass(frozen=True, slots=True)
class SendDown:
    """Give Envoy a response."""

    raw: bytes


@dataclass(frozen=True, slots=True)
class SendUp:
    """Give control a request."""

    raw: bytes


@dataclass(frozen=True, slots=True)
class Keep:
    """Envoy has accepted this: record it."""

    type_url: str
    kept: Mapping[str, Known]
    gone: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True)
class RestartUpstream:
    """End the stream to control and open a new one."""


Action = SendDown | SendUp | Keep | RestartUpstream
Actions = tuple[Action, ...]
_LOCAL: Final = 0


@dataclass(slots=True)
class _Sent:
    nonce: str
    stream: int
    response: DeltaResponse


@dataclass(slots=True)
class _Type:
    """`asked`: names (or `*`) without an answer yet → since when. `is_first`: nothing of this type was answered on Envoy's stream."""

    is_wildcard: bool
    names: set[str]
    held: dict[str, str]
    asked: dict[str, float] = field(default_factory=dict)
    sent: deque[_Sent] = field(default_factory=deque)
    is_first: bool = True


def _believed(state: _Type) -> dict[str, str]:
    """What Envoy holds, to be told to control. What is still on its way to Envoy has a version that equals none: control says it again, or takes it away."""
    believed = dict(state.held)
    for sent in state.sent:
        for name in (*(resource.name for resource in sent.response.resources), *sent.response.removed):
            if state.is_wildcard or name in state.names:
                believed[name] = ""
    return believed


def _interest(state: _Type) -> tuple[str, ...]:
    """What is asked for, as a stream's first request of a type says it: nothing stands for everything."""
    names = tuple(sorted(state.names))
    return (WILDCARD, *names) if state.is_wildcard and names else names


class RelaySession:
    """The state of one Envoy's stream. `is_reachable`: whether control answered lately; if not, the record answers at once."""

    def __init__(self, record: Record, *, is_reachable: bool = True) -> None:
        """A stream that Envoy has just opened; no stream to control yet."""
        self._record = record
        self._types: dict[str, _Type] = {}
        self._node = b""
        self._stream = 0
        self._is_open = False
        self._is_silent = not is_reachable
        self._answered_since_open = False
        self._local_nonce = 0
        self._awaiting_endpoints: set[str] = set()
        self._closed_at: float | None = None
        self._is_introduced = False
        """Whether control knows on this stream who speaks."""
        self._report: tuple[Action, ...] = ()
        self._refused: dict[str, str] = {}

    @property
    def refused(self) -> str:
        """What Envoy says is wrong with the last of what it was sent. Empty: nothing."""
        return "; ".join(self._refused.values())

    def on_report(self, problem: str | None) -> Actions:
        """The workload is well (None), or not."""
        self._report = (SendUp(encode_request(DeltaRequest(HEALTH_TYPE, error=problem))),)
        return self._report if self._is_open and self._is_introduced else ()

    def _introduced(self, actions: Iterable[Action]) -> list[Action]:
        """What goes up, with the report behind the first request of the stream."""
        found = list(actions)
        if self._is_open and not self._is_introduced and any(isinstance(action, SendUp) for action in found):
            self._is_introduced = True
            found += self._report
        return found

    def on_request(self, raw: bytes, now: float) -> Actions:
        """Envoy asks or answers. Raises MalformedMessage."""
        request = decode_request(raw)
        self._node = request.node or self._node
        is_new = request.type_url not in self._types
        state = self._subscribe(request, now)
        actions, answered_stream = self._acknowledge(state, request)
        has_change = is_new or bool(request.subscribe or request.unsubscribe)
        if self._is_open:
            if answered_stream == self._stream or (answered_stream is None and has_change):
                actions.append(SendUp(raw))
            elif has_change:
                actions.append(SendUp(encode_request(replace(request, nonce="", error=None, node=b""))))
        return (*self._introduced(actions), *self.on_time(now))

    def on_response(self, raw: bytes, now: float) -> Actions:
        """Control answers, on the stream that is open. Raises MalformedMessage."""
        if self._answered_since_open:
            self._is_open = False
            return (RestartUpstream(),)
        response = decode_response(raw)
        self._is_silent = False
        state = self._types.get(response.type_url)
        if state is None:
            return ()
        names = [resource.name for resource in response.resources]
        state.sent.append(_Sent(response.nonce, self._stream, response))
        state.is_first = False
        for name in (WILDCARD, *names, *response.removed):
            state.asked.pop(name, None)
        if response.type_url == CLUSTERS:
            self._awaiting_endpoints.update(names)
        elif response.type_url == ENDPOINTS:
            self._awaiting_endpoints.difference_update(names)
        return (SendDown(raw),)

    def on_upstream_open(self, now: float) -> Actions:
        """A stream to control is open: it is told everything Envoy asked for and holds."""
        self._stream += 1
        self._is_open = True
        self._is_introduced = False
        self._closed_at = None
        self._answered_since_open = False
        actions: list[Action] = []
        node = self._node
        for type_url, state in self._types.items():
            actions.append(SendUp(encode_request(DeltaRequest(type_url, subscribe=_interest(state), initial_versions=_believed(state), node=node))))
            node = b""
            if state.asked:
                state.asked = dict.fromkeys(state.asked, now)
        return tuple(self._introduced(actions))

    def on_upstream_closed(self, now: float) -> Actions:
        """The stream to control has ended, or could not be opened."""
        if self._closed_at is None:
            self._closed_at = now
        if not self._is_open:
            return self.on_time(now)
        self._is_open = False
        warming, self._awaiting_endpoints = self._awaiting_endpoints, set()
        state = self._types.get(ENDPOINTS)
        again = sorted(name for name in warming if state and name in state.held)
        actions = self._answer(ENDPOINTS, state, again) if state and again else ()
        return (*actions, *self.on_time(now))

    def on_time(self, now: float) -> Actions:
        """Time has passed: answers from the record what has waited long enough."""
        actions: list[Action] = []
        for type_url, state in self._types.items():
            due = [name for name, since in state.asked.items() if self._due_at(type_url, name, since) <= now]
            if due:
                actions += self._answer(type_url, state, due)
        return tuple(actions)

    @property
    def deadline(self) -> float | None:
        """When `on_time` has something to do. None: nothing waits."""
        due = [self._due_at(type_url, name, since) for type_url, state in self._types.items() for name, since in state.asked.items()]
        earliest = min(due, default=float("inf"))
        return None if earliest == float("inf") else earliest

    def _due_at(self, type_url: str, name: str, since: float) -> float:
        if self._is_open:
            state = self._types[type_url]
            if self._answered_since_open:
                return since
            return float("inf") if state.held or not state.is_first else since + SLOW_S
        if type_url == CLUSTERS and name != WILDCARD:
            return since + DEMAND_PATIENCE_S
        if self._is_silent:
            return since
        return max(since, self._closed_at if self._closed_at is not None else since) + PATIENCE_S

    def _subscribe(self, request: DeltaRequest, now: float) -> _Type:
        state = self._types.get(request.type_url)
        if state is None:
            is_wildcard = not request.subscribe or WILDCARD in request.subscribe
            state = _Type(is_wildcard, set(), dict(request.initial_versions))
            self._types[request.type_url] = state
            if is_wildcard and not state.held:
                state.asked[WILDCARD] = now
        elif WILDCARD in request.subscribe:
            state.is_wildcard = True
            state.asked[WILDCARD] = now
        for name in request.subscribe:
            if name != WILDCARD:
                state.names.add(name)
                if name not in request.initial_versions:
                    state.asked[name] = now
        for name in request.unsubscribe:
            state.asked.pop(name, None)
            state.names.discard(name)
            if name == WILDCARD:
                state.is_wildcard = False
            elif not state.is_wildcard:
                state.held.pop(name, None)
        return state

    def _acknowledge(self, state: _Type, request: DeltaRequest) -> tuple[list[Action], int | None]:
        """What to record, and the stream whose response Envoy answers (0: ours; None: it answers nothing). Envoy answers a type's responses in their order.

        Control's first answer to an Envoy that holds nothing is all there is: what the record has beside it was removed while nobody listened.
        """
        if not request.nonce:
            return [], None
        if all(sent.nonce != request.nonce for sent in state.sent):
            return [], _LOCAL
        while (sent := state.sent.popleft()).nonce != request.nonce:
            pass
        response = sent.response
        self._refused.pop(request.type_url, None)
        if request.error is not None:
            self._refused[request.type_url] = request.error
            if sent.stream == _LOCAL:
                for resource in response.resources:
                    state.held.pop(resource.name, None)
            return [], sent.stream
        is_whole = state.is_wildcard and not state.held and sent.stream != _LOCAL
        for resource in response.resources:
            if state.is_wildcard or resource.name in state.names:
                state.held[resource.name] = resource.version
        for name in response.removed:
            state.held.pop(name, None)
        if sent.stream == _LOCAL:
            return [], _LOCAL
        kept = {resource.name: Known(resource.version, resource.fragment) for resource in response.resources}
        stale = [name for name in self._record.known(response.type_url) if name not in kept and name not in state.names] if is_whole else []
        gone = tuple(sorted({*response.removed, *stale}))
        actions: list[Action] = [Keep(response.type_url, kept, gone)] if kept or gone else []
        if response.type_url == CLUSTERS and gone:
            actions.append(Keep(ENDPOINTS, {}, gone))
        return actions, sent.stream

    def _answer(self, type_url: str, state: _Type, names: Iterable[str]) -> Actions:
        """A response from the record. Nothing if no configuration of this proxy was ever recorded: then Envoy waits for control."""
        known = self._record.known(type_url)
        if not known and not self._record.known(CLUSTERS):
            for name in list(names):
                state.asked[name] = float("inf")
            return ()
        found: dict[str, Known] = {}
        absent: list[str] = []
        for name in names:
            state.asked.pop(name, None)
            if name == WILDCARD:
                found.update((each, resource) for each, resource in known.items() if state.held.get(each) != resource.version)
            elif name in known:
                found[name] = known[name]
            else:
                absent.append(name)
        fragments = [found[name].fragment for name in sorted(found)]
        if type_url == CLUSTERS and state.is_wildcard:
            fragments += map(stand_in, sorted(absent))
            absent = []
        self._local_nonce += 1
        nonce = f"known-{self._local_nonce}"
        raw = encode_response(type_url, nonce, fragments, sorted(absent))
        response = decode_response(raw)
        state.sent.append(_Sent(nonce, _LOCAL, response))
        state.held.update((resource.name, resource.version) for resource in response.resources)
        state.is_first = False
        self._is_silent = True
        self._answered_since_open = self._is_open
        return (SendDown(raw),)
