"""A scripted ADS server: gives one Envoy the resources of one case, unmodified, and notes what it refuses.

It also stands in for the secret servers that a user names. Secrets are the arena's own: every certificate is signed by its one authority, and every trusted root is that authority.
"""

from collections.abc import AsyncIterator
from dataclasses import dataclass, field
from typing import Any

import grpc

from lateen.base.names import FILE_REVOCATIONS
from lateen.insight.simulate.emitted import CLUSTER, LISTENER, SECRET, Emitted, Serialized
from lateen.wire.pb.envoy.extensions.transport_sockets.tls.v3 import secret_pb2
from lateen.wire.pb.envoy.service.discovery.v3 import discovery_pb2
from lateen.wire.pb.google.protobuf import any_pb2

METHODS = ("/envoy.service.discovery.v3.AggregatedDiscoveryService/StreamAggregatedResources", "/envoy.service.secret.v3.SecretDiscoveryService/StreamSecrets")
WILDCARD = (LISTENER, CLUSTER)


@dataclass
class Ads(grpc.GenericRpcHandler):
    """What is served now. `refused`: Envoy's reasons."""

    certificate: bytes
    key: bytes
    root: bytes
    revocations: bytes
    resources: dict[str, dict[str, bytes]] = field(default_factory=dict)
    refused: list[str] = field(default_factory=list)

    def load(self, serialized: list[Serialized]) -> None:
        self.resources, self.refused = {}, []
        for one in serialized:
            self.resources.setdefault(one.type_url, {})[one.name] = one.body

    def service(self, details: grpc.HandlerCallDetails) -> Any:
        return grpc.stream_stream_rpc_method_handler(self._stream) if details.method in METHODS else None

    async def _stream(self, requests: AsyncIterator[bytes], context: grpc.aio.ServicerContext) -> AsyncIterator[bytes]:
        asked: dict[str, frozenset[str]] = {}
        nonce = 0
        async for raw in requests:
            request = discovery_pb2.DiscoveryRequest.FromString(raw)
            if request.error_detail.message:
                self.refused.append(f"{request.type_url.rpartition('.')[2]}: {request.error_detail.message}")
            names = frozenset(request.resource_names)
            if asked.get(request.type_url) == names:
                continue
            asked[request.type_url] = names
            nonce += 1
            response = discovery_pb2.DiscoveryResponse(version_info=str(nonce), nonce=str(nonce), type_url=request.type_url)
            for body in self._bodies(request.type_url, names):
                response.resources.append(any_pb2.Any(type_url=request.type_url, value=body))
            yield response.SerializeToString()

    def _bodies(self, type_url: str, names: frozenset[str]) -> list[bytes]:
        if type_url == SECRET:
            return [secret_message(name, self.root, self.certificate, self.key, self.revocations) for name in sorted(names)]
        known = self.resources.get(type_url, {})
        return [body for name, body in sorted(known.items()) if type_url in WILDCARD or name in names]


def secret_servers(emitted: Emitted) -> frozenset[str]:
    """Clusters that listeners ask for secrets, other than this server."""
    found = set()
    for listener in emitted.listeners:
        for chain in (*listener.chains, *([listener.default_chain] if listener.default_chain else [])):
            if chain.tls is None:
                continue
            common = chain.tls.common_tls_context
            roots = (common.validation_context_sds_secret_config, common.combined_validation_context.validation_context_sds_secret_config)
            for one in (*common.tls_certificate_sds_secret_configs, *roots):
                found |= {service.envoy_grpc.cluster_name for service in one.sds_config.api_config_source.grpc_services}
    return frozenset(found)


def secret_message(name: str, root: bytes, certificate: bytes, key: bytes, revocations: bytes) -> bytes:
    """A Secret of that name: roots where the name says so, with a list of revocations where it says so too, else the certificate."""
    secret = secret_pb2.Secret(name=name)
    if name.endswith("-cacert") or name.startswith("file-root:") or name == "ROOTCA":
        secret.validation_context.trusted_ca.inline_bytes = root
        if FILE_REVOCATIONS in name:
            secret.validation_context.crl.inline_bytes = revocations
    else:
        secret.tls_certificate.certificate_chain.inline_bytes = certificate
        secret.tls_certificate.private_key.inline_bytes = key
    return secret.SerializeToString()
