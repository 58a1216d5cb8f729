"""Automatic scope: which clusters a view gets without asking, who asks for others, and that nothing of it is there when it is off."""

from dataclasses import replace

from lateen.config.kinds.istio.extension_providers import ExtensionProvider, SdsProvider
from lateen.config.kinds.istio.mesh_config import MeshConfig
from lateen.config.store import OBJECTS, ref
from lateen.mesh.automatic_scope import LEARNED, SCOPE, ScopeMode, Workload
from lateen.mesh.model import Locality
from lateen.mesh.projection import view_of
from lateen.mesh.view import Proxy, ProxyType, View
from lateen.wire.pb.envoy.config.listener.v3 import listener_pb2
from lateen.xds.resource import ResourceType
from lateen.xds.resources import resource, resource_names

SERVICE = """
apiVersion: v1
kind: Service
metadata: {{name: {name}, namespace: shop}}
spec: {{clusterIP: 10.96.0.{at}, selector: {{app: {name}}}, ports: [{{name: http, port: 80}}, {{name: tcp-lines, port: 7000}}]}}
---"""
MESH = (
    "".join(SERVICE.format(name=name, at=at) for at, name in enumerate(("cart", "copy", "secrets"), 7))
    + """
apiVersion: networking.istio.io/v1
kind: ServiceEntry
metadata: {name: far, namespace: shop}
spec: {hosts: [far.example.com], resolution: DNS, ports: [{number: 80, name: http, protocol: HTTP}]}
---
apiVersion: networking.istio.io/v1
kind: VirtualService
metadata: {name: cart, namespace: shop}
spec: {hosts: [cart], http: [{route: [{destination: {host: cart}}], mirrors: [{destination: {host: copy}}]}]}
"""
)
FIXED = {"BlackHoleCluster", "PassthroughCluster", "InboundPassthroughCluster"}
CONFIG = MeshConfig(extension_providers=(ExtensionProvider(name="s", sds=SdsProvider(name="s", service="shop/secrets.shop.svc.cluster.local", port=80)),))
KINDS = (ResourceType.CLUSTER, ResourceType.ENDPOINT)


def view(type_=ProxyType.SIDECAR, metadata=()):
    return View(type_, "shop", "cart", (), "shop.svc.cluster.local", Locality(), "", "Kubernetes", True, False, metadata=metadata)


def automatic(mesh, config=None):
    db = mesh(MESH, config)
    SCOPE.set(db, "mesh", ScopeMode.AUTOMATIC)
    return db


def hosts(db, who, kind=ResourceType.CLUSTER):
    return {name.rpartition("|")[2].partition(".")[0] for name in resource_names(db, who, kind)} - FIXED


def test_only_what_nothing_would_ask_for_is_listed(mesh):
    db = automatic(mesh)
    assert hosts(db, view()) == {"copy", "far"}  # copies are dropped where their cluster is not there; names warm slowly
    assert hosts(db, view(), ResourceType.ENDPOINT) == {"copy"}
    assert set(resource_names(db, view(), ResourceType.CLUSTER)) > FIXED
    assert hosts(automatic(mesh, CONFIG), view()) == {"copy", "far", "secrets"}  # filters and secrets name an extension's service


def test_what_is_not_listed_is_there_for_who_asks(mesh):
    db, off = automatic(mesh), mesh(MESH)
    for kind in KINDS:
        for name in resource_names(off, view(), kind):
            assert resource(db, view(), kind, name) == resource(off, view(), kind, name)


def test_what_the_workload_learned_is_listed_as_far_as_it_is_there(mesh):
    db, name = automatic(mesh), "outbound|80||cart.shop.svc.cluster.local"
    LEARNED.set(db, Workload("shop", "cart", "cart-a"), frozenset({name, "outbound|80||gone.shop.svc.cluster.local"}))
    mine, others = view(metadata=(("WORKLOAD_NAME", "cart-a"),)), view(metadata=(("WORKLOAD_NAME", "cart-b"),))
    for kind in KINDS:
        assert set(resource_names(db, mine, kind)) - set(resource_names(db, others, kind)) == {name}
        assert set(resource_names(db, others, kind)) == set(resource_names(db, view(), kind))


def test_only_in_automatic_scope_workloads_part_views(mesh):
    proxy = Proxy(ProxyType.SIDECAR, "a.shop", "shop", metadata=(("WORKLOAD_NAME", "a"),))
    db = mesh(MESH)
    assert view_of(db, proxy).metadata == ()
    SCOPE.set(db, "mesh", ScopeMode.AUTOMATIC)
    assert view_of(db, proxy).metadata == proxy.metadata
    assert view_of(db, replace(proxy, type=ProxyType.ROUTER)).metadata == ()


def test_gateways_and_clients_without_a_proxy_have_all(mesh):
    db, off = automatic(mesh), mesh(MESH)
    for who in (view(ProxyType.ROUTER), view(metadata=(("GENERATOR", "grpc"),))):
        assert resource_names(db, who, ResourceType.CLUSTER) == resource_names(off, who, ResourceType.CLUSTER)


def test_route_tables_are_whole_and_listeners_ask_outbound_alone(mesh):
    db, off = automatic(mesh), mesh(MESH)
    for kind in (ResourceType.ROUTE, ResourceType.LISTENER):
        assert resource_names(db, view(), kind) == resource_names(off, view(), kind)
    for name in resource_names(off, view(), ResourceType.ROUTE):
        assert resource(db, view(), ResourceType.ROUTE, name) == resource(off, view(), ResourceType.ROUTE, name)
    for name in resource_names(off, view(), ResourceType.LISTENER):
        with_it, without = (listener_pb2.Listener.FromString(resource(one, view(), ResourceType.LISTENER, name).body) for one in (db, off))
        is_outbound = with_it.traffic_direction == 2
        assert (with_it != without) is is_outbound, name
        asking = [
            one for chain in with_it.filter_chains for one in chain.filters if b"odcds" in one.typed_config.value or b"OnDemand" in one.typed_config.value
        ]
        assert is_outbound or not asking


def test_a_copy_that_is_no_more_is_no_longer_listed_and_another_route_re_runs_no_list(mesh):
    db = automatic(mesh)
    assert "copy" in hosts(db, view())
    rule = next(OBJECTS.at(db, key) for key in OBJECTS.keys(db, ("VirtualService",)))
    (route,) = rule.spec.http
    make = rule.__class__
    timed = make(
        meta=rule.meta, spec=rule.spec.__class__(hosts=rule.spec.hosts, http=(route.__class__(route=route.route, mirrors=route.mirrors, timeout=3.0),))
    )
    OBJECTS.set(db, ref(timed), timed)
    db.runs.clear()
    assert "copy" in hosts(db, view())
    assert not {name for name in db.runs if name.startswith("xds.clusters")}
    bare = make(meta=rule.meta, spec=rule.spec.__class__(hosts=rule.spec.hosts, http=(route.__class__(route=route.route),)))
    OBJECTS.set(db, ref(bare), bare)
    assert hosts(db, view()) == {"far"}
