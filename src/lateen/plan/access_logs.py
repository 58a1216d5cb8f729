"""Where a proxy writes its access log, and how a line looks. Called by `xds.filters`. Source: Istio MeshConfig.accessLogFile, accessLogFormat,
accessLogEncoding."""

from dataclasses import dataclass

import msgspec

from lateen.config.kinds.istio.extension_providers import ExtensionProvider
from lateen.config.kinds.istio.mesh_config import AccessLogEncoding, DefaultProviders
from lateen.config.store import mesh_field
from lateen.incremental import Db, query
from lateen.mesh.log_formats import json_pattern, problem

STDOUT = "/dev/stdout"

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
    pattern `fields`, itself JSON text. `has_listener`: also connections that no chain takes. `omits_empty`: values that are not there are left out."""

    path: str
    text: str = ""
    fields: str = ""
    has_listener: bool = True
    omits_empty: bool = False


@query
def access_logs(db: Db) -> tuple[AccessLog, ...]:
    """The mesh's access logs: those of its default providers, else the one file it names; none where neither is asked for. A format that Envoy would
    refuse is replaced by the usual one."""
    has_listener = not mesh_field(db, "disable_envoy_listener_log")
    defaults = mesh_field(db, "default_providers")
    names = defaults.access_logging if isinstance(defaults, DefaultProviders) else ()
    if names:
        found = (_provided(db, name, has_listener) for name in dict.fromkeys(names))
        return tuple(one for one in found if one is not None)
    path = str(mesh_field(db, "access_log_file"))
    if not path:
        return ()
    given = str(mesh_field(db, "access_log_format"))
    if mesh_field(db, "access_log_encoding") is not AccessLogEncoding.JSON:
        return (AccessLog(path, _line(given), "", has_listener),)
    return (AccessLog(path, "", _pattern(given) or _text(dict(JSON)), has_listener),)


def _provided(db: Db, name: str, has_listener: bool) -> AccessLog | None:
    """The log of one provider; None: it is no file log, or there is none of that name. Source: Istio EnvoyFileAccessLogProvider; `envoy` is built in."""
    providers = mesh_field(db, "extension_providers")
    for one in providers if isinstance(providers, tuple) else ():
        if isinstance(one, ExtensionProvider) and one.name == name:
            file = one.envoy_file_access_log
            if file is None:
                return None
            said = file.log_format
            if said is not None and said.labels is not None:
                return AccessLog(file.path or STDOUT, "", _pattern(_text(said.labels.plain())) or _text(dict(JSON)), has_listener, file.omit_empty_values)
            return AccessLog(file.path or STDOUT, _line(said.text or "" if said else ""), "", has_listener, file.omit_empty_values)
    return AccessLog(STDOUT, TEXT, "", has_listener) if name == "envoy" else None


def _line(given: str) -> str:
    """A text format with its newline; the usual one where none is given, or Envoy would refuse it."""
    if not given or problem(given):
        return TEXT
    return given if given.endswith("\n") else given + "\n"


def _pattern(given: str) -> str:
    """The pattern in normal form; empty where it is no JSON object of good formats and objects."""
    value = json_pattern(given)
    return _text(value) if value is not None else ""


def _text(value: object) -> str:
    return msgspec.json.encode(value, order="deterministic").decode()
