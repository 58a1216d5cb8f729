"""The scratch Envoy: what it takes, what it refuses, and which of many is to blame."""

import pytest

from lateen.insight.scratch import Scratch, Suspect
from lateen.wire.binary import envoy_path
from lateen.wire.pb.envoy.config.cluster.v3 import cluster_pb2
from lateen.wire.pb.envoy.config.endpoint.v3 import endpoint_pb2
from lateen.wire.pb.envoy.config.listener.v3 import listener_pb2
from lateen.wire.pb.envoy.config.route.v3 import route_pb2
from lateen.xds.resource import ResourceType

pytestmark = pytest.mark.live


def cluster(name: str, *, good: bool = True) -> Suspect:
    message = cluster_pb2.Cluster(name=name, type=cluster_pb2.Cluster.EDS)
    message.eds_cluster_config.eds_config.ads.SetInParent()
    message.eds_cluster_config.eds_config.resource_api_version = 2
    if not good:
        message.connect_timeout.FromSeconds(-1)
    return Suspect(ResourceType.CLUSTER.value, name, message.SerializeToString())


def route(name: str, pattern: str) -> Suspect:
    message = route_pb2.RouteConfiguration(name=name)
    host = message.virtual_hosts.add(name="a", domains=["*"])
    one = host.routes.add()
    one.match.safe_regex.regex = pattern
    one.route.cluster = "nowhere"
    return Suspect(ResourceType.ROUTE.value, name, message.SerializeToString())


def endpoints(name: str, address: str) -> Suspect:
    message = endpoint_pb2.ClusterLoadAssignment(cluster_name=name)
    place = message.endpoints.add().lb_endpoints.add().endpoint.address.socket_address
    place.address, place.port_value = address, 80
    return Suspect(ResourceType.ENDPOINT.value, name, message.SerializeToString())


async def test_good_ones_are_taken():
    listener = listener_pb2.Listener(name="empty")
    listener.address.socket_address.address, listener.address.socket_address.port_value = "127.0.0.1", 1
    chain = listener.filter_chains.add().filters.add(name="envoy.filters.network.echo").typed_config
    chain.type_url = "type.googleapis.com/envoy.extensions.filters.network.echo.v3.Echo"
    suspects = [
        cluster("a"),
        cluster("b"),
        route("r", "/x.*"),
        endpoints("c", "10.0.0.1"),
        Suspect(ResourceType.LISTENER.value, "empty", listener.SerializeToString()),
    ]
    assert await Scratch(envoy_path()).refusal(suspects) is None


async def test_the_culprits_are_found_by_halving():
    bad = [cluster("bad", good=False), route("r2", "/x(")]
    suspects = [*(cluster(f"c{number}") for number in range(6)), bad[0], route("r1", "/ok"), bad[1]]
    found = await Scratch(envoy_path()).culprits(suspects)
    assert set(found) == set(bad)
    assert "x(" in found[bad[1]]


async def test_bytes_that_are_no_message():
    assert await Scratch(envoy_path()).refusal([Suspect(ResourceType.CLUSTER.value, "x", b"\xff\xff\xff")])


async def test_an_address_that_is_none():
    assert "malformed" in (await Scratch(envoy_path()).refusal([endpoints("c", "not-an-ip")]) or "")
