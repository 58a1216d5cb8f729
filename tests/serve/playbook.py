"""A shelf that publishes, and a client that behaves as Envoy does, both without sockets."""

from dataclasses import dataclass, field

from lateen.serve.session import CDS, ECDS, EDS, LDS, RDS, SDS, Close, Send, Session, Settled, Unwant, Want
from lateen.serve.snapshot import Entries, Snapshot
from lateen.wire.delta import DeltaRequest, decode_request, decode_response, encode_request
from lateen.xds.resource import Resource, ResourceType

TYPES = (CDS, EDS, LDS, RDS, ECDS, SDS)


class Shelf:
    """Published snapshots of one view. Contents are texts: a cluster's body is anything, a route's body names clusters, a listener's body names routes."""

    def __init__(self) -> None:
        self.entries = Entries()
        self.contents: dict[str, dict[str, str]] = {url: {} for url in TYPES}
        self.extra: dict[str, dict[str, str]] = {url: {} for url in TYPES}
        """What exists beyond what the view lists."""
        self.wanted: dict[str, set[str]] = {url: set() for url in TYPES}
        self.revision = 0
        self.snapshots: dict[str, Snapshot] = {}
        self.publish()

    def put(self, url: str, name: str, body: str) -> None:
        self.contents[url][name] = body

    def drop(self, url: str, name: str) -> None:
        self.contents[url].pop(name, None)

    def publish(self) -> dict[str, Snapshot]:
        self.revision += 1
        fresh: dict[str, Snapshot] = {}
        for url in TYPES:
            listed = self.contents[url]
            wanted = self.wanted[url] | (self.wanted[CDS] if url == EDS else set())
            extra = {name: self.extra[url][name] for name in wanted - listed.keys() if name in self.extra[url]}
            bodies = {**extra, **listed}
            entries = {name: self.entries.entry(Resource(ResourceType(url), name, body.encode())) for name, body in bodies.items()}
            absent = frozenset(wanted - bodies.keys())
            old = self.snapshots.get(url)
            was = old.entries if old else {}
            changed = frozenset(name for name in was.keys() | entries.keys() if was.get(name) is not entries.get(name))
            if old and not changed and absent == old.absent and old.listed == frozenset(listed):
                fresh[url] = old
            else:
                fresh[url] = Snapshot(entries, frozenset(listed), absent, changed, old.serial if old else 0)
        self.snapshots = fresh
        return fresh


@dataclass
class Client:
    """What Envoy does: clusters ask for endpoints, listeners for routes; a changed cluster warms until its endpoints come; a reconnect brings versions."""

    shelf: Shelf
    now: float = 0.0
    held: dict[str, dict[str, tuple[str, str]]] = field(default_factory=lambda: {url: {} for url in TYPES})
    """type → name → (version, body)."""
    asked: dict[str, set[str]] = field(default_factory=lambda: {url: set() for url in TYPES})
    fetched: set[str] = field(default_factory=set)
    """Clusters asked for one by one, beside all."""
    warming: set[str] = field(default_factory=set)
    active: set[str] = field(default_factory=set)
    """Clusters that take requests: static ones, and those that have had endpoints; an updated one stays active while its successor warms."""
    inbox: list[Send] = field(default_factory=list)
    sent: list[tuple[str, tuple[str, ...], tuple[str, ...]]] = field(default_factory=list)
    """(type, names, removed) of every response, in order."""
    settled: list[int] = field(default_factory=list)
    refuse: frozenset[tuple[str, str]] = frozenset()
    session: Session = field(default_factory=Session)

    def take(self, actions) -> None:
        for action in actions:
            if isinstance(action, Send):
                assert sum(send.type_url == action.type_url for send in self.inbox) == 0, "two responses of one type in flight"
                self.inbox.append(action)
                self.sent.append((action.type_url, action.names, action.removed))
            elif isinstance(action, Want):
                self.shelf.wanted[action.type_url] |= action.names
            elif isinstance(action, Unwant):
                self.shelf.wanted[action.type_url] -= action.names
            elif isinstance(action, Settled):
                self.settled.append(action.revision)
            else:
                assert not isinstance(action, Close)

    def request(self, url: str, subscribe=(), unsubscribe=(), nonce="", error=None, versions=None) -> None:
        request = DeltaRequest(url, nonce, tuple(subscribe), tuple(unsubscribe), versions or {}, error)
        self.take(self.session.on_request(decode_request(encode_request(request)), self.now))

    def connect(self, *, wait: bool = False) -> None:
        """A new stream; what was in flight is lost."""
        self.take(self.session.on_close())
        self.session, self.inbox = Session(self.session.unfinished), []
        if not wait:
            self.publish()
        for url in (CDS, EDS, LDS, RDS, ECDS, SDS):
            versions = {name: version for name, (version, _) in self.held[url].items()}
            if url == CDS and self.fetched:
                self.request(url, subscribe=["*", *sorted(self.fetched)], versions=versions)
            elif url in (CDS, LDS) or self.asked[url]:
                self.request(url, subscribe=sorted(self.asked[url]), versions=versions)

    def publish(self) -> None:
        self.take(self.session.on_published(self.shelf.snapshots, self.shelf.revision, self.now))

    def fetch(self, name: str) -> None:
        """A request needs a cluster. Envoy asks once for each, and not for one that is there."""
        if name not in self.fetched and name not in self.held[CDS]:
            self.fetched.add(name)
            self.request(CDS, subscribe=[name])

    def ask(self, url: str, names: set[str]) -> None:
        new, old = names - self.asked[url], self.asked[url] - names
        self.asked[url] = set(names)
        for name in old:
            self.held[url].pop(name, None)
        if new or old:
            self.request(url, subscribe=sorted(new), unsubscribe=sorted(old))

    def answer(self) -> None:
        """Takes one response from the wire, in order per stream, applies and answers it."""
        if not self.inbox:
            return
        send = self.inbox.pop(0)
        response = decode_response(send.encoded())
        url = response.type_url
        if any((url, resource.name) in self.refuse for resource in response.resources):
            self.request(url, nonce=response.nonce, error="refused")
            return
        for resource in response.resources:
            if url not in (CDS, LDS) and resource.name not in self.asked[url]:
                continue
            changed = self.held[url].get(resource.name, ("", ""))[0] != resource.version
            self.held[url][resource.name] = (resource.version, resource.body.decode())
            if url == CDS and changed and resource.body.startswith(b"eds"):
                self.warming.add(resource.name)
            elif url == CDS and changed:
                self.warming.discard(resource.name)
                self.active.add(resource.name)
            if url == EDS:
                self.warming.discard(resource.name)
                self.active.add(resource.name)
        for name in response.removed:
            self.held[url].pop(name, None)
            if url == CDS:
                self.warming.discard(name)
                self.active.discard(name)
        self.request(url, nonce=response.nonce)
        if url == CDS:
            self.ask(EDS, {name for name, (_, body) in self.held[CDS].items() if body.startswith("eds")})
        if url == LDS:
            self.ask(RDS, {route for _, body in self.held[LDS].values() for route in body.split()})
        self.check()

    def check(self) -> None:
        """No route refers to a cluster that is not there, or that has never been warm."""
        for _, body in self.held[RDS].values():
            for cluster in body.split():
                assert cluster in self.active, f"{cluster} is routed to and takes no requests"

    def run(self) -> None:
        """Until nothing is in flight and no name is asked for that was not computed."""
        for _ in range(200):
            if self.inbox:
                self.answer()
            elif any(
                not (name in self.shelf.snapshots[url].entries or name in self.shelf.snapshots[url].absent) for url in TYPES for name in self.shelf.wanted[url]
            ):
                self.shelf.publish()
                self.publish()
            else:
                return
        raise AssertionError("does not come to rest")

    def wait(self, seconds: float) -> None:
        self.now += seconds
        self.take(self.session.on_tick(self.now))
        self.run()
