"""What proxies are started with: ProxyConfigs and annotations together, as the node gets them."""

import json

import pytest

from lateen.config.decode import decode, ref_of
from lateen.config.defaults import mesh_config_of
from lateen.config.kinds.kubernetes.core import ConfigMap
from lateen.config.store import MESH_CONFIG, OBJECTS
from lateen.config.validate import validate
from lateen.control.injection import injected
from lateen.incremental import Db
from lateen.node.settings import SETTINGS, ProxySettings, settings_of, written
from lateen.sources.plain import as_json

MESH = """
apiVersion: v1
kind: ConfigMap
metadata: {name: istio, namespace: istio-system}
data:
  mesh: |
    defaultConfig: {concurrency: 1, terminationDrainDuration: 9s, MORE}
---
apiVersion: networking.istio.io/v1beta1
kind: ProxyConfig
metadata: {name: all, namespace: shop}
spec: {concurrency: 2, environmentVariables: {A: b}}
---
apiVersion: networking.istio.io/v1beta1
kind: ProxyConfig
metadata: {name: web, namespace: shop}
spec: {selector: {matchLabels: {app: web}}, concurrency: 0}
"""
POD = """
---
apiVersion: apps/v1
kind: Deployment
metadata: {name: web, namespace: NAMESPACE}
spec:
  template:
    metadata: {labels: LABELS, annotations: {lateen.io/proxy: forged, proxy.istio.io/config: 'ANNOTATION'}}
    spec: {containers: [{name: web, image: web}]}
"""


def made(namespace="shop", labels="{app: web}", annotation="{}", more=""):
    text = MESH.replace(", MORE", more) + POD.replace("NAMESPACE", namespace).replace("LABELS", labels).replace("ANNOTATION", annotation)
    objects = decode(text, "test").objects
    db = Db()
    MESH_CONFIG.set(db, "mesh", mesh_config_of(next(one for one in objects if isinstance(one, ConfigMap)))[0])
    for one in objects:
        OBJECTS.set(db, ref_of(one), one)
    pod = objects[-1]
    return injected(db, pod, as_json(pod))["spec"]["template"]["metadata"]["annotations"], [found.message for one in objects for found in validate(one)]


def test_the_narrower_configuration_wins():
    assert settings_of(made()[0]) == ProxySettings(concurrency=0, termination_drain_s=9.0, environment={"A": "b"})
    assert settings_of(made(labels="{app: api}")[0]).concurrency == 2
    assert settings_of(made("other")[0]) == ProxySettings(concurrency=1, termination_drain_s=9.0)
    assert settings_of(made("other", annotation="{concurrency: 5}")[0]).concurrency == 5


def test_a_pod_without_a_proxy_has_no_settings_and_nobody_forges_them():
    assert SETTINGS not in made(labels='{sidecar.istio.io/inject: "false"}')[0]


@pytest.mark.parametrize(
    "wrong, field",
    [
        ("{proxyAdminPort: 15021}", "proxyAdminPort"),
        ("{proxyAdminPort: 70000}", "proxyAdminPort"),
        ("{concurrency: -1}", "concurrency"),
        ('{proxyStatsMatcher: {inclusionRegexps: ["("]}}', "proxyStatsMatcher.inclusionRegexps[0]"),
        ("{fileFlushInterval: 0s}", "fileFlushInterval"),
        ("{connectionSettings: {globalDownstreamConnectionLimit: 0}}", "connectionSettings.globalDownstreamConnectionLimit"),
        ("{connectionSettings: {httpMaxConcurrentStreams: 0}}", "connectionSettings.httpMaxConcurrentStreams"),
        ("{interceptionMode: TPROXY}", "interceptionMode"),
    ],
)
def test_what_would_keep_envoy_from_starting_is_told_and_left_out(wrong, field):
    plain = settings_of(made("other", more="")[0])
    found, told = made("other", annotation=wrong)
    assert any(message.startswith(f"proxy.istio.io/config: {field}: ") for message in told), told
    assert settings_of(found).admin_port is None and settings_of(found).stats_regexps == () and settings_of(found).most_connections is None
    assert settings_of(found).concurrency in (plain.concurrency, None)
    told = made("other", more=f", {wrong[1:-1]}")[1]
    assert any(message.startswith(f"defaultConfig.{field}: ") for message in told), told


def test_one_bad_number_leaves_those_beside_it():
    found, _ = made("other", annotation="{connectionSettings: {globalDownstreamConnectionLimit: 7, http2InitialStreamWindowSize: 1}}")
    assert settings_of(found).most_connections == 7


def test_settings_survive_their_writing():
    full = ProxySettings(concurrency=3, runtime={"a": True, "b": 1.5}, environment={"ISTIO_META_X": "y"}, holds_application=False)
    assert settings_of({SETTINGS: written(full)}) == full and full.metadata == {"X": "y"}
    assert written(ProxySettings()) == "" and json.loads(written(full))["holdsApplication"] is False
