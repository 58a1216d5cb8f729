"""What is in force where nothing is said."""

from lateen.config.decode import decode
from lateen.config.defaults import mesh_config_of, proxy_config_in_force, with_defaults
from lateen.config.kinds.istio.mesh_config import MeshConfig, MeshOutboundMode


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
