"""Extensions by name (ECDS) and secrets (SDS) that listeners and clusters ask for. Called by `xds.resources`.

Names of secrets are Istio's: `kubernetes://NAME`, with `-cacert` for the root beside it; `file-cert:CHAIN~KEY` and `file-root:PATH` for files where the
proxy runs. Ours is `file-root:PATH~crl:PATH`, with a revocation list: what a secret names is read with the secret, so that a missing file closes one server
and not its listener.
"""

from lateen.base.names import FILE_REVOCATIONS, FILE_ROOT, VIRTUAL_INBOUND
from lateen.incremental import Db, query
from lateen.mesh.credentials import ROOT_SUFFIX, Certificate, Root, certificate, root
from lateen.mesh.view import View
from lateen.plan.listeners import listener, listener_names
from lateen.wire.pb.envoy.config.core.v3 import base_pb2
from lateen.wire.pb.envoy.extensions.transport_sockets.tls.v3 import secret_pb2
from lateen.xds.check import problem
from lateen.xds.resource import Resource, ResourceType

KUBERNETES, FILE_CERTIFICATE = "kubernetes://", "file-cert:"
SYSTEM_ROOTS = "/etc/ssl/certs/ca-certificates.crt"
"""Where Debian and Ubuntu keep the roots that `file-root:system` stands for."""


def extension_names(db: Db, view: View) -> frozenset[str]:
    """No extension is served by name yet: no policy is in force."""
    return frozenset()


def extension_resource(db: Db, view: View, name: str) -> Resource | None:
    """None: see `extension_names`."""
    return None


@query
def secret_names(db: Db, view: View) -> frozenset[str]:
    """The secrets that a view's listeners name over ADS. Clusters name more; a proxy asks for each by name."""
    found: set[str] = set()
    for name in listener_names(db, view) if view.is_router else (VIRTUAL_INBOUND,):
        plan = listener(db, view, name)
        for tls in (chain.tls for chain in plan.chains if chain.tls) if plan else ():
            found.update(source.name for source in (*tls.certificates, *((tls.root,) if tls.root else ())) if not source.path and not source.cluster)
    return frozenset(found)


def secret_resource(db: Db, view: View, name: str) -> Resource | None:
    """One secret as a view gets it; None: there is none, or it is no good, or the view may not have it."""
    return _secret(db, view.namespace, name)


@query
def _secret(db: Db, namespace: str, name: str) -> Resource | None:
    message = secret_pb2.Secret(name=name)
    if name.startswith(FILE_CERTIFICATE):
        chain, _, key = name.removeprefix(FILE_CERTIFICATE).partition("~")
        message.tls_certificate.certificate_chain.filename = chain
        message.tls_certificate.private_key.filename = key
        return _resource(message)
    if name.startswith(FILE_ROOT):
        path, _, revocations = name.removeprefix(FILE_ROOT).partition(FILE_REVOCATIONS)
        message.validation_context.trusted_ca.filename = SYSTEM_ROOTS if path == "system" else path
        if revocations:
            message.validation_context.crl.filename = revocations
        return _resource(message)
    if not name.startswith(KUBERNETES):
        return None
    return _from_kubernetes(db, namespace, name.removeprefix(KUBERNETES), message)


def _from_kubernetes(db: Db, namespace: str, name: str, message: secret_pb2.Secret) -> Resource | None:
    """The Secret must be in the proxy's own namespace; a name that says another is refused. Source: Istio, credentials of gateways."""
    home, _, bare = name.rpartition("/")
    if home not in ("", namespace):
        return None
    if bare.endswith(ROOT_SUFFIX):
        found = root(db, namespace, bare)
        if not isinstance(found, Root):
            return None
        message.validation_context.trusted_ca.inline_bytes = found.certificates
        if found.revoked:
            message.validation_context.crl.inline_bytes = found.revoked
        return _resource(message, found)
    pair = certificate(db, namespace, bare)
    if not isinstance(pair, Certificate):
        return None
    message.tls_certificate.certificate_chain.CopyFrom(base_pb2.DataSource(inline_bytes=pair.chain))
    message.tls_certificate.private_key.CopyFrom(base_pb2.DataSource(inline_bytes=pair.key.reveal()))
    if pair.staple:
        message.tls_certificate.ocsp_staple.inline_bytes = pair.staple
    return _resource(message, pair)


def _resource(message: secret_pb2.Secret, source: Certificate | Root | None = None) -> Resource:
    origins = frozenset((source.origin,) if source else ())
    return Resource(ResourceType.SECRET, message.name, message.SerializeToString(deterministic=True), origins, problem(message))
