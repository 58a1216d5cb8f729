"""Whatever is written in a VirtualService, the real Envoy takes the route table; each hazard is one that it refuses when passed on."""

import json
import subprocess

import pytest

from lateen.config.decode import decode, ref_of
from lateen.config.store import OBJECTS
from lateen.insight.simulate.messages import protojson
from lateen.mesh.projection import view_of
from lateen.mesh.view import Proxy, ProxyType
from lateen.wire.binary import envoy_path
from lateen.wire.pb.envoy.config.route.v3 import route_pb2
from lateen.xds.routes import route_resource

SERVICE = """
kind: Service
apiVersion: v1
metadata: {name: one, namespace: aa}
spec: {clusterIP: 10.1.0.1, ports: [{name: http, port: 80}]}
---
kind: VirtualService
apiVersion: networking.istio.io/v1
metadata: {name: v, namespace: aa}
spec:
  hosts: [one]
  http:
"""
TO = "route: [{destination: {host: one}}]"
HAZARDS = {
    "stray percent": f"  - {{{TO}, headers: {{request: {{set: {{x: 100%}}}}}}}}",
    "unknown command": f"  - {{{TO}, headers: {{response: {{add: {{x: '%FOO%'}}}}}}}}",
    "half a command": f"  - {{{TO}, headers: {{request: {{set: {{x: '%REQ(y)'}}}}}}}}",
    "newline": f'  - {{{TO}, headers: {{request: {{set: {{x: "a\\nb"}}}}}}}}',
    "long value": f"  - {{{TO}, headers: {{request: {{set: {{x: {'a' * 20000}}}}}}}}}",
    "bad pattern": f"  - {{{TO}, match: [{{uri: {{regex: '(('}}}}]}}\n  - {{{TO}}}",
    "empty pattern": f"  - {{{TO}, match: [{{uri: {{regex: ''}}}}]}}\n  - {{{TO}}}",
    "huge pattern": f"  - {{{TO}, match: [{{uri: {{regex: '((((a{{1,100}}){{1,9}}){{1,9}}){{1,9}})'}}}}]}}\n  - {{{TO}}}",
    "bad rewrite": f"  - {{{TO}, rewrite: {{uriRegexRewrite: {{match: '(a', rewrite: b}}}}}}",
    "backreference that is not": f"  - {{{TO}, rewrite: {{uriRegexRewrite: {{match: '/(a)', rewrite: '/\\\\7'}}}}}}",
    "weights beyond 32 bits": "  - route:\n" + "\n".join(f"    - {{destination: {{host: one, subset: s{at}}}, weight: 2147483647}}" for at in range(3)),
    "only weight zero": "  - route: [{destination: {host: one}, weight: 0}, {destination: {host: two}, weight: 0}]",
    "status of no answer": "  - {directResponse: {status: 100}}",
    "redirect without a code": "  - {redirect: {uri: /x, redirectCode: 305}}",
    "abort with no status": f"  - {{{TO}, fault: {{abort: {{httpStatus: 0, percentage: {{value: 1}}}}}}}}",
    "delay of nothing": f"  - {{{TO}, fault: {{delay: {{fixedDelay: 0s, percentage: {{value: 1}}}}}}}}",
    "backoff of nothing": f"  - {{{TO}, retries: {{attempts: 1, backoff: 0s}}}}",
    "strange retry words": f"  - {{{TO}, retries: {{attempts: 1, retryOn: 'nonsense,,503'}}}}",
    "no destination": "  - {match: [{uri: {prefix: /}}]}",
    "percent in a redirect": "  - {redirect: {uri: '/100%', authority: 'a%b'}}",
    "an origin's bad pattern": f"  - {{{TO}, corsPolicy: {{allowOrigins: [{{regex: '['}}]}}}}",
}


def table(mesh, text: str) -> route_pb2.RouteConfiguration:
    db = mesh(SERVICE.split("---")[0])
    for item in decode(SERVICE.split("---")[1] + text, "in.yaml").objects:
        OBJECTS.set(db, ref_of(item), item)
    found = route_resource(db, view_of(db, Proxy(ProxyType.SIDECAR, "c.aa", "aa", addresses=("10.2.0.1",))), "80")
    assert found is not None
    return route_pb2.RouteConfiguration.FromString(found.body)


def is_accepted(routes: route_pb2.RouteConfiguration, folder) -> tuple[bool, str]:
    router = {"name": "r", "typed_config": {"@type": "type.googleapis.com/envoy.extensions.filters.http.router.v3.Router"}}
    manager = {
        "@type": "type.googleapis.com/envoy.extensions.filters.network.http_connection_manager.v3.HttpConnectionManager",
        "stat_prefix": "x",
        "route_config": protojson(routes),
        "http_filters": [router],
    }
    listener = {
        "name": "l",
        "address": {"socket_address": {"address": "127.0.0.1", "port_value": 0}},
        "filter_chains": [{"filters": [{"name": "h", "typed_config": manager}]}],
    }
    file = folder / "envoy.json"
    runtime = {"layers": [{"name": "static", "static_layer": {"re2.max_program_size.error_level": 32768}}]}
    file.write_text(json.dumps({"static_resources": {"listeners": [listener]}, "layered_runtime": runtime}))
    done = subprocess.run([str(envoy_path()), "--mode", "validate", "-c", str(file), "-l", "critical"], capture_output=True, text=True, timeout=30)
    return done.returncode == 0, done.stderr


@pytest.mark.live
@pytest.mark.parametrize("name", HAZARDS)
def test_envoy_takes_the_table(mesh, tmp_path, name):
    routes = table(mesh, HAZARDS[name])
    assert any(host.name == "one.aa.svc.cluster.local:80" for host in routes.virtual_hosts)
    accepted, why = is_accepted(routes, tmp_path)
    assert accepted, why


@pytest.mark.live
def test_every_command_that_counts_as_one_is_taken(tmp_path):
    from lateen.mesh.header_values import PLAIN, WITH_ARGUMENT

    routes = route_pb2.RouteConfiguration(name="r", validate_clusters={"value": False})
    host = routes.virtual_hosts.add(name="v", domains=["*"])
    for name in sorted(PLAIN | WITH_ARGUMENT):
        route = host.routes.add()
        route.match.prefix, route.route.cluster = "/", "a"
        option = route.request_headers_to_add.add()
        option.header.key, option.header.value = "x", f"%{name}(x)%" if name in WITH_ARGUMENT else f"%{name}%"
    accepted, why = is_accepted(routes, tmp_path)
    assert accepted, why
