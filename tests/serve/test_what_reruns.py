"""The whole line from an object to the bytes of each stream, with the real queries: what a change re-runs, who is sent what, and that others get nothing."""

from collections.abc import Iterable
from functools import cache

import pytest

from lateen.config.decode import decode, ref_of
from lateen.config.kinds.istio.mesh_config import MeshConfig
from lateen.config.store import MESH_CONFIG, OBJECTS
from lateen.incremental import Db
from lateen.mesh.view import Proxy, ProxyType
from lateen.serve.catalog import Catalog
from lateen.serve.session import CDS, EDS, LDS, RDS, Action, Send, Session
from lateen.wire.delta import DeltaRequest
from lateen.xds.resource import ResourceType

SPACES = 10
SCOPED = ("ns8", "ns9")
"""Namespaces whose Sidecar imports nothing but their own services: changes elsewhere don't concern them."""
PER_SPACE = 2
"""Proxies of each namespace: they share a view."""
HOST = "svc7.ns7.svc.cluster.local"
SERVICE = """---
apiVersion: v1
kind: Service
metadata: {{name: svc{at}, namespace: ns{space}}}
spec: {{clusterIP: 10.{high}.{low}.1, selector: {{app: svc{at}}}, ports: [{{name: http, port: 80, targetPort: 8080}}]}}
"""
SLICE = """---
apiVersion: discovery.k8s.io/v1
kind: EndpointSlice
metadata: {{name: svc{at}-a, namespace: ns{space}, labels: {{kubernetes.io/service-name: svc{at}}}}}
addressType: IPv4
ports: [{{name: http, port: 8080, protocol: TCP}}]
endpoints: [{{addresses: [10.20{last}.{high}.{low}], conditions: {{ready: true}}}}]
"""
ROUTE = """---
apiVersion: networking.istio.io/v1
kind: VirtualService
metadata: {{name: svc{at}, namespace: ns{space}}}
spec: {{hosts: [svc{at}], http: [{{timeout: {timeout}s, route: [{{destination: {{host: svc{at}}}}}]}}]}}
"""
SIDECAR = """---
apiVersion: networking.istio.io/v1
kind: Sidecar
metadata: {{name: default, namespace: {space}}}
spec: {{egress: [{{hosts: ['./*']}}]}}
"""


def service(at: int) -> str:
    return SERVICE.format(at=at, space=f"{at % SPACES}", high=at // 250, low=at % 250)


def endpoints(at: int, last: int = 0) -> str:
    return SLICE.format(at=at, space=f"{at % SPACES}", high=at // 250, low=at % 250 + 1, last=last)


def route(at: int, timeout: int = 5) -> str:
    return ROUTE.format(at=at, space=f"{at % SPACES}", timeout=timeout)


class Mesh:
    """So many services, every tenth with a VirtualService, and proxies in ten namespaces that hold everything."""

    def __init__(self, services: int) -> None:
        self.db = Db()
        MESH_CONFIG.set(self.db, "mesh", MeshConfig())
        texts = [f"---\napiVersion: v1\nkind: Namespace\nmetadata: {{name: ns{at}}}\n" for at in range(SPACES)]
        texts += [SIDECAR.format(space=space) for space in SCOPED]
        for at in range(services):
            texts += [service(at), endpoints(at)]
            texts += [route(at)] if at % 10 == 7 else []
        self.write("".join(texts))
        self.catalog = Catalog(self.db)
        self.proxies = [
            Proxy(ProxyType.SIDECAR, f"p{number}.ns{at}", f"ns{at}", dns_domain=f"ns{at}.svc.cluster.local", addresses=(f"10.250.{at}.{number + 1}",))
            for at in range(SPACES)
            for number in range(PER_SPACE)
        ]
        for proxy in self.proxies:
            self.catalog.join(proxy)
        self.publish()
        self.sessions = {proxy: self.synced(proxy) for proxy in self.proxies}

    def write(self, text: str) -> None:
        decoded = decode(text, "in.yaml")
        assert not decoded.is_broken
        for item in decoded.objects:
            OBJECTS.set(self.db, ref_of(item), item)

    def publish(self) -> None:
        assert self.catalog.refresh()
        self.catalog.publish()

    def synced(self, proxy: Proxy) -> Session:
        session = Session()
        view = self.catalog.view(proxy)
        assert view is not None
        snapshots = self.catalog.snapshots(view)
        assert snapshots is not None
        session.on_published(snapshots, self.db.revision, 0.0)
        for url in (CDS, EDS, LDS, RDS):
            names = () if url in (CDS, LDS) else tuple(sorted(snapshots[url].listed))
            self.acknowledge(session, session.on_request(DeltaRequest(url, subscribe=names), 0.0))
        assert session.is_settled
        return session

    def acknowledge(self, session: Session, actions: Iterable[Action]) -> list[Send]:
        """Everything that is sent until the session has no more to say."""
        sent = []
        todo = [action for action in actions if isinstance(action, Send)]
        while todo:
            send = todo.pop(0)
            sent.append(send)
            todo += [action for action in session.on_request(DeltaRequest(send.type_url, nonce=send.nonce), 0.0) if isinstance(action, Send)]
        return sent

    def changed(self, text: str) -> tuple[dict[str, int], dict[Proxy, list[Send]]]:
        """What a change re-runs, and what each proxy is sent."""
        self.write(text)
        self.db.runs.clear()
        assert self.catalog.refresh()
        published = self.catalog.publish()
        runs = {name: count for name, count in self.db.runs.items() if count}
        sent: dict[Proxy, list[Send]] = {}
        for proxy, session in self.sessions.items():
            view = self.catalog.view(proxy)
            assert view is not None
            snapshots = self.catalog.snapshots(view)
            assert snapshots is not None
            if view in published.views:
                sent[proxy] = self.acknowledge(session, session.on_published(snapshots, self.db.revision, 0.0))
        return runs, sent


@cache
def mesh(services: int) -> Mesh:
    return Mesh(services)


@pytest.mark.parametrize(
    ("before", "after", "url", "name"),
    [
        (endpoints(7, 0), endpoints(7, 1), EDS, f"outbound|80||{HOST}"),
        (route(7, 5), route(7, 6), RDS, "80"),
    ],
    ids=["endpoint", "virtual service"],
)
def test_one_change_re_runs_the_same_queries_at_100_and_1000_services_and_is_one_resource_for_each_it_concerns(before, after, url, name):
    runs = {}
    for services in (100, 1000):
        runs[services], sent = mesh(services).changed(after)
        concerned = {proxy for proxy in mesh(services).proxies if proxy.namespace not in SCOPED}
        assert sent.keys() == concerned  # to the others: not a byte
        assert {(send.type_url, send.names, send.removed) for sends in sent.values() for send in sends} == {(url, (name,), ())}
        assert all(len(sends) == 1 for sends in sent.values())
        mesh(services).changed(before)
    assert runs[100] == runs[1000]
    assert sum(runs[1000].values()) < 200


def test_a_namespaces_proxies_are_sent_one_and_the_same_bytes():
    _, sent = mesh(100).changed(endpoints(7, 3))
    for at in range(SPACES - len(SCOPED)):
        first, second = (sends[0] for proxy, sends in sent.items() if proxy.namespace == f"ns{at}")
        assert all(one is other for one, other in zip(first.fragments, second.fragments, strict=True))
    mesh(100).changed(endpoints(7, 0))


def test_what_re_ran_is_what_it_would_be_from_scratch():
    few = mesh(100)
    for text in (endpoints(7, 2), route(7, 9), route(17, 9), endpoints(7, 0), route(7), route(17)):
        few.changed(text)
        view = few.catalog.view(few.proxies[0])
        roots = [root for root in few.db.roots() if view in root[1] and ResourceType.ENDPOINT in root[1]][:40]
        roots += [root for root in few.db.roots() if view in root[1] and ResourceType.ROUTE in root[1]]
        assert few.db.discrepancies(tuple(roots)) == ()
