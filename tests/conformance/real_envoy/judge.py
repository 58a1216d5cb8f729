"""What the simulator says of a call against what Envoy did with it."""

from dataclasses import dataclass, replace

import arena
import msgspec
from client import Seen, is_malformed

from lateen.base.names import VIRTUAL_INBOUND, VIRTUAL_OUTBOUND
from lateen.config.kinds.istio.mesh_config import MeshConfig
from lateen.insight.simulate.call import Call, Outcome, Speech
from lateen.insight.simulate.emitted import Emitted
from lateen.insight.simulate.evaluate import Result, evaluate
from lateen.wire.pb.envoy.config.route.v3 import route_components_pb2

FORMAT = (
    "CALL\t"
    + "\t".join(
        (
            "%DOWNSTREAM_DIRECT_REMOTE_ADDRESS%",
            "%UPSTREAM_CLUSTER_RAW%",
            "%ROUTE_NAME%",
            "%RESPONSE_CODE%",
            "%RESPONSE_FLAGS%",
            "%RESPONSE_CODE_DETAILS%",
            "%PROTOCOL%",
            "%CONNECTION_TERMINATION_DETAILS%",
            "%DOWNSTREAM_TRANSPORT_FAILURE_REASON%",
        )
    )
    + "\n"
)
"""The access log's format, set through the mesh configuration."""
PATIENT_S = 20.0
REFUSED = (Outcome.NO_FILTER_CHAIN, Outcome.PROTOCOL_ERROR, Outcome.TLS_ERROR, Outcome.MTLS_ERROR)
CODES = {
    route_components_pb2.RedirectAction.MOVED_PERMANENTLY: 301,
    route_components_pb2.RedirectAction.FOUND: 302,
    route_components_pb2.RedirectAction.SEE_OTHER: 303,
    route_components_pb2.RedirectAction.TEMPORARY_REDIRECT: 307,
    route_components_pb2.RedirectAction.PERMANENT_REDIRECT: 308,
}


def with_our_log(mesh: MeshConfig) -> MeshConfig:
    """The mesh configuration with the one access log that is read here, and with protocol detection that outlasts a machine under load: no call says when."""
    waits = {} if mesh.protocol_detection_timeout is not None else {"protocol_detection_timeout": PATIENT_S}
    log = {"access_log_file": "/dev/stdout", "access_log_format": FORMAT, "access_log_encoding": MeshConfig().access_log_encoding}
    return msgspec.structs.replace(mesh, **waits, **log, disable_envoy_listener_log=False, default_providers=None)


@dataclass(frozen=True)
class Logged:
    """One line of the access log."""

    cluster: str
    route: str
    code: str
    flags: str
    details: str
    protocol: str
    termination: str
    transport: str

    @staticmethod
    def read(line: str) -> tuple[int, "Logged"] | None:
        """The client's port and the rest. None: another line."""
        parts = line.rstrip("\n").split("\t")
        if len(parts) != 10 or parts[0] != "CALL":
            return None
        return int(parts[1].rpartition(":")[2]), Logged(*("" if part == "-" else part for part in parts[2:]))


def capture_ports(emitted: Emitted) -> tuple[int, int]:
    """Where redirected connections go out and come in."""
    ports = {one.message.name: one.addresses[0][1] for one in emitted.listeners if one.addresses}
    return ports.get(VIRTUAL_OUTBOUND, arena.CAPTURED_AT[0]), ports.get(VIRTUAL_INBOUND, arena.CAPTURED_AT[1])


def disagreement(emitted: Emitted, call: Call, said: Result, seen: Seen, logged: list[Logged]) -> str:
    """How Envoy contradicts the simulator, empty where it does not."""
    if said.outcome is Outcome.NO_LISTENER:
        return "" if seen.is_refused else f"a listener took it: {seen} {logged}"
    if seen.is_refused:
        return "no listener took it"
    if said.outcome in REFUSED:
        return _refused(said, seen, logged)
    if said.manager is not None and is_malformed(call):
        return _malformed(emitted, call, seen, logged)
    if not logged:
        return f"Envoy logged nothing: {seen}"
    if len(logged) > 1:
        return f"Envoy logged it more than once: {logged}"
    entry = logged[0]
    if said.tcp_proxy is not None:
        return _forwarded(emitted, said, entry)
    if entry.protocol == "":
        return f"not handled as HTTP: {entry}"
    return _http(emitted, said, entry)


def _refused(said: Result, seen: Seen, logged: list[Logged]) -> str:
    finds_no_chain = any(one.details == "filter_chain_not_found" for one in logged)
    if finds_no_chain != (said.outcome is Outcome.NO_FILTER_CHAIN):
        return f"{'no' if finds_no_chain else 'some'} filter chain took it: {seen} {logged}"
    entry = next((one for one in logged if one.cluster or one.route), None)
    if entry is not None and said.outcome is not Outcome.PROTOCOL_ERROR and "TLS_error" not in entry.transport:
        return f"Envoy sent it on: {entry} {seen}"
    if said.outcome is Outcome.PROTOCOL_ERROR:
        is_bad_request = seen.answer.startswith((b"HTTP/1.1 400", b"HTTP/1.0 400")) or any(one.code == "400" or "DPE" in one.flags for one in logged)
        return "" if is_bad_request or (not seen.answer and entry is None) else f"Envoy answered: {seen.answer[:40]!r} {logged}"
    return f"Envoy answered: {seen.answer[:40]!r}" if seen.answer.startswith(b"HTTP/") else ""


def _malformed(emitted: Emitted, call: Call, seen: Seen, logged: list[Logged]) -> str:
    """What is no request goes no way of HTTP, whatever routes would make of it: the codec refuses it, or to the HTTP inspector it is bytes of no protocol."""
    as_bytes = evaluate(emitted, replace(call, speech=Speech.TCP))
    if as_bytes.tcp_proxy is not None and len(logged) == 1 and not logged[0].protocol:
        return _forwarded(emitted, as_bytes, logged[0])
    is_refused = all(not one.cluster and not one.route and (one.code in ("400", "404") or "DPE" in one.flags) for one in logged)
    return "" if is_refused and (logged or seen.answer.startswith((b"HTTP/1.1 400", b"HTTP/1.1 404"))) else f"Envoy took what is no request: {seen} {logged}"


def _http(emitted: Emitted, said: Result, entry: Logged) -> str:
    match said.outcome:
        case Outcome.NO_ROUTE | Outcome.NO_VIRTUAL_HOST:
            return "" if entry.code == "404" and "NR" in entry.flags else f"expected 404 NR: {entry}"
        case Outcome.TLS_REDIRECT:
            return "" if entry.code == "301" else f"expected 301: {entry}"
    assert said.route is not None
    route = said.route.route
    if entry.route != route.name:
        return f"another route than `{route.name}`: {entry}"
    match said.outcome:
        case Outcome.REDIRECT:
            return "" if entry.code == str(CODES[route.redirect.response_code]) else f"another redirect: {entry}"
        case Outcome.DIRECT_RESPONSE:
            return "" if entry.code == str(route.direct_response.status) else f"expected {route.direct_response.status}: {entry}"
        case _:
            return _forwarded(emitted, said, entry)


def _forwarded(emitted: Emitted, said: Result, entry: Logged) -> str:
    total = sum(weight for _, weight in said.clusters)
    names = {name for name, weight in said.clusters if weight or not total}
    missing = names - emitted.clusters.keys()
    if entry.cluster:
        return "" if entry.cluster in names - missing else f"another cluster than {sorted(names)}: {entry}"
    if missing and ("NC" in entry.flags or entry.details == "cluster_not_found"):
        return ""
    if missing and entry.details == "fault_filter_abort" and said.route is not None:  # the fault, of the route that was named, came first
        return ""
    return f"no cluster, expected {sorted(names)}: {entry}"
