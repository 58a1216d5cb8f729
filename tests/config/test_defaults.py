"""What is in force where nothing is said."""

from lateen.config.decode import decode
from lateen.config.defaults import mesh_config_of, proxy_config_in_force, with_defaults
from lateen.config.kinds.istio.mesh_config import MeshConfig, MeshOutboundMode
from lateen.config.validate import validate


def objects(text):
    decoded = decode(text, "f")
    assert decoded.findings == ()
    return decoded.objects


def mesh(text):
    (config_map,) = objects("apiVersion: v1\nkind: ConfigMap\nmetadata: {name: istio, namespace: istio-system}\ndata:\n  mesh: |\n" + text)
    return mesh_config_of(config_map)


def test_a_port_s_target_is_the_port():
    (item,) = objects("apiVersion: v1\nkind: Service\nmetadata: {name: a}\nspec: {ports: [{port: 80}, {port: 81, targetPort: x}]}\n")
    assert [port.target_port for port in with_defaults(item).spec.ports] == [80, "x"]
    assert [port.target_port for port in item.spec.ports] == [None, "x"]


def test_without_a_config_map_istio_s_defaults_hold():
    config, findings = mesh_config_of(None)
    assert (config, findings) == (MeshConfig(), ())
    assert config.outbound_traffic_policy.mode is MeshOutboundMode.ALLOW_ANY
    assert (config.connect_timeout, config.trust_domain, config.enable_auto_mtls) == (10.0, "cluster.local", True)


def test_a_document_counts_over_the_defaults_message_by_message():
    config, findings = mesh("    defaultConfig: {proxyMetadata: {A: b}, tracing: {sampling: 10}}\n    connect_timeout: 3s\n    enableAutoMtls: false\n")
    assert [finding.message for finding in findings] == ["defaultConfig.tracing: not in force yet"]
    assert config.default_config.tracing.sampling == 10
    assert config.default_config.status_port == 15020
    assert config.default_config.proxy_metadata == {"A": "b"}
    assert (config.connect_timeout, config.enable_auto_mtls) == (3.0, False)


def test_mistakes_in_the_document_name_their_line_and_leave_the_rest():
    config, findings = mesh("    trustDomain: mine\n    trustDomian: x\n    connectTimeout: 5\n")
    assert config.trust_domain == "mine"
    assert [finding.field for finding in findings] == ["data.mesh", "data.mesh"]
    assert "trustDomian: unknown field" in findings[0].message
    assert "its line 2" in findings[0].message


def test_a_broken_document_leaves_the_defaults():
    config, findings = mesh("    a: b: c\n")
    assert config == MeshConfig()
    assert "not YAML" in findings[0].message


def test_a_workload_s_proxy_config_is_merged_in_istio_s_order():
    wide, own = objects(
        "apiVersion: networking.istio.io/v1beta1\nkind: ProxyConfig\nmetadata: {name: a}\nspec: {concurrency: 1, environmentVariables: {A: wide, B: wide}}\n---\n"
        "apiVersion: networking.istio.io/v1beta1\nkind: ProxyConfig\nmetadata: {name: b}\nspec: {selector: {matchLabels: {x: y}}, environmentVariables: {A: own}}\n"
    )
    config, findings = proxy_config_in_force(MeshConfig(), (wide,), "concurrency: 2\nproxyMetadata: {A: pod, C: pod}\n", own)
    assert findings == ()
    assert config.concurrency == 2
    assert config.proxy_metadata == {"A": "own", "B": "wide", "C": "pod"}


def test_a_pod_s_own_proxy_configuration_is_read_and_its_mistakes_are_told():
    annotations = '{proxy.istio.io/config: \'{"gatewayTopology": {"proxyProtokol": {}}, "zipkinAddress": "z:1"}\'}'
    deployment = f"""
apiVersion: apps/v1
kind: Deployment
metadata: {{name: a, namespace: b}}
spec:
  selector: {{matchLabels: {{app: a}}}}
  template:
    metadata: {{labels: {{app: a}}, annotations: {annotations}}}
    spec: {{containers: [{{name: a, image: x}}]}}
"""
    broken = """
apiVersion: v1
kind: Pod
metadata: {name: a, namespace: b, annotations: {proxy.istio.io/config: "{["}}
spec: {containers: [{name: a, image: x}]}
"""
    told = [finding for text in (deployment, broken) for item in decode(text, "x.yaml").objects for finding in validate(item)]
    assert [(str(found.object), found.code, found.severity.name) for found in told] == [
        ("Deployment b/a", "LTN0103", "WARNING"),
        ("Deployment b/a", "LTN0109", "WARNING"),
        ("Pod b/a", "LTN0101", "WARNING"),
    ]
    assert "proxyProtocol" in told[0].message + told[0].hint and "zipkinAddress" in told[1].message
