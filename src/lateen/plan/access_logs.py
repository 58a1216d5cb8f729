"""Where a proxy writes its access log, and how a line looks. Called by `xds.filters`. Source: Istio MeshConfig.accessLogFile, accessLogFormat,
accessLogEncoding."""

from dataclasses import dataclass

import msgspec

from lateen.config.kinds.istio.mesh_config import AccessLogEncoding
from lateen.config.store import mesh_field
from lateen.incremental import Db, query

TEXT = (
    '[%START_TIME%] "%REQ(:METHOD)% %REQ(X-ENVOY-ORIGINAL-PATH?:PATH)% %PROTOCOL%" %RESPONSE_CODE% %RESPONSE_FLAGS% %RESPONSE_CODE_DETAILS% '
    '%CONNECTION_TERMINATION_DETAILS% "%UPSTREAM_TRANSPORT_FAILURE_REASON%" %BYTES_RECEIVED% %BYTES_SENT% %DURATION% '
    '%RESP(X-ENVOY-UPSTREAM-SERVICE-TIME)% "%REQ(X-FORWARDED-FOR)%" "%REQ(USER-AGENT)%" "%REQ(X-REQUEST-ID)%" "%REQ(:AUTHORITY)%" "%UPSTREAM_HOST%" '
    "%UPSTREAM_CLUSTER_RAW% %UPSTREAM_LOCAL_ADDRESS% %DOWNSTREAM_LOCAL_ADDRESS% %DOWNSTREAM_REMOTE_ADDRESS% %REQUESTED_SERVER_NAME% %ROUTE_NAME%\n"
)
JSON = (
    ("start_time", "%START_TIME%"),
    ("route_name", "%ROUTE_NAME%"),
    ("method", "%REQ(:METHOD)%"),
    ("path", "%REQ(X-ENVOY-ORIGINAL-PATH?:PATH)%"),
    ("protocol", "%PROTOCOL%"),
    ("response_code", "%RESPONSE_CODE%"),
    ("response_flags", "%RESPONSE_FLAGS%"),
    ("response_code_details", "%RESPONSE_CODE_DETAILS%"),
    ("connection_termination_details", "%CONNECTION_TERMINATION_DETAILS%"),
    ("upstream_transport_failure_reason", "%UPSTREAM_TRANSPORT_FAILURE_REASON%"),
    ("bytes_received", "%BYTES_RECEIVED%"),
    ("bytes_sent", "%BYTES_SENT%"),
    ("duration", "%DURATION%"),
    ("upstream_service_time", "%RESP(X-ENVOY-UPSTREAM-SERVICE-TIME)%"),
    ("x_forwarded_for", "%REQ(X-FORWARDED-FOR)%"),
    ("user_agent", "%REQ(USER-AGENT)%"),
    ("request_id", "%REQ(X-REQUEST-ID)%"),
    ("authority", "%REQ(:AUTHORITY)%"),
    ("upstream_host", "%UPSTREAM_HOST%"),
    ("upstream_cluster", "%UPSTREAM_CLUSTER_RAW%"),
    ("upstream_local_address", "%UPSTREAM_LOCAL_ADDRESS%"),
    ("downstream_local_address", "%DOWNSTREAM_LOCAL_ADDRESS%"),
    ("downstream_remote_address", "%DOWNSTREAM_REMOTE_ADDRESS%"),
    ("requested_server_name", "%REQUESTED_SERVER_NAME%"),
)


@dataclass(frozen=True)
class AccessLog:
    """A log. `path`: a file, or `/dev/stdout`, `/dev/stderr`. `text`: a line's format, with its newline; empty: JSON after the
    pattern `fields`, itself JSON text. `has_listener`: also connections that no chain takes."""

    path: str
    text: str = ""
    fields: str = ""
    has_listener: bool = True


@query
def access_log(db: Db) -> AccessLog | None:
    """The mesh's access log; None: none is asked for."""
    path = str(mesh_field(db, "access_log_file"))
    if not path:
        return None
    given = str(mesh_field(db, "access_log_format"))
    has_listener = not mesh_field(db, "disable_envoy_listener_log")
    if mesh_field(db, "access_log_encoding") is not AccessLogEncoding.JSON:
        return AccessLog(path, (given if given.endswith("\n") else given + "\n") if given else TEXT, "", has_listener)
    return AccessLog(path, "", _pattern(given) or _text(dict(JSON)), has_listener)


def _pattern(given: str) -> str:
    """The pattern in normal form; empty where it is no JSON object of texts and objects."""
    try:
        value = msgspec.json.decode(given) if given else None
    except msgspec.DecodeError:
        return ""
    return _text(value) if isinstance(value, dict) and _is_pattern(value) else ""


def _is_pattern(value: object) -> bool:
    return all(map(_is_pattern, value.values())) if isinstance(value, dict) else isinstance(value, str)


def _text(value: dict[str, object] | dict[str, str]) -> str:
    return msgspec.json.encode(value, order="deterministic").decode()
