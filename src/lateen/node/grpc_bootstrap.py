"""What a gRPC application without a proxy starts from: who it is, where its configuration comes from, where its certificates are. JSON.

The folder that holds it is mounted into the pod; the paths are those in the pod. Called by `local.mesh_side`.

Source: gRPC A27, A29, A65; names and places: Istio, templates of proxyless gRPC.
"""

from typing import Any, Final

from lateen.base.names import GRPC_SERVER_LISTENERS
from lateen.node.bootstrap import ADS_SOCKET, BootstrapOptions, node_block
from lateen.node.certificates import CHAIN, DATA, DIRECTORY, KEY, ROOT
from lateen.node.pod import PodIdentity

FOLDER: Final = "/etc/istio/proxy"
BOOTSTRAP: Final = "grpc-bootstrap.json"
VARIABLE: Final = "GRPC_XDS_BOOTSTRAP"
"""The environment variable that names the file."""
_REFRESH: Final = "10s"
"""How often files of certificates are looked at: they are renewed hours before they end."""
_ENVOYS: Final = ("INTERCEPTION_MODE", "ENVOY_STATUS_PORT", "ENVOY_PROMETHEUS_PORT")


def grpc_bootstrap(pod: PodIdentity, options: BootstrapOptions) -> dict[str, Any]:
    """The bootstrap of the pod's gRPC library; its shape is gRPC's."""
    node = node_block(pod, options)
    metadata = {key: value for key, value in node["metadata"].items() if key not in _ENVOYS}
    node["metadata"] = metadata | {"GENERATOR": "grpc", "DNS_CAPTURE": "false"}
    files = f"{FOLDER}/{DIRECTORY}/{DATA}"
    certificates = {
        "certificate_file": f"{files}/{CHAIN}",
        "private_key_file": f"{files}/{KEY}",
        "ca_certificate_file": f"{files}/{ROOT}",
        "refresh_interval": _REFRESH,
    }
    return {
        "xds_servers": [{"server_uri": f"unix://{FOLDER}/{ADS_SOCKET}", "channel_creds": [{"type": "insecure"}], "server_features": ["xds_v3"]}],
        "node": node,
        "certificate_providers": {"default": {"plugin_name": "file_watcher", "config": certificates}},
        "server_listener_resource_name_template": f"{GRPC_SERVER_LISTENERS}%s",
    }
