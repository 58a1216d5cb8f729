"""Access loggers as Envoy messages. Called by the makers of connection managers, TCP proxies and listeners. Envoy: AccessLog, FileAccessLog, stream loggers."""

import json

from lateen.plan.access_logs import AccessLog
from lateen.wire.pb.envoy.config.accesslog.v3 import accesslog_pb2
from lateen.wire.pb.envoy.config.core.v3 import substitution_format_string_pb2 as formats
from lateen.wire.pb.envoy.extensions.access_loggers.file.v3 import file_pb2
from lateen.wire.pb.envoy.extensions.access_loggers.stream.v3 import stream_pb2
from lateen.wire.pb.google.protobuf import struct_pb2
from lateen.xds.any import packed


def _value(item: object) -> struct_pb2.Value:
    return struct_pb2.Value(struct_value=_struct(item)) if isinstance(item, dict) else struct_pb2.Value(string_value=str(item))


def _struct(fields: dict[str, object]) -> struct_pb2.Struct:
    return struct_pb2.Struct(fields={key: _value(item) for key, item in sorted(fields.items())})


def _format(log: AccessLog) -> formats.SubstitutionFormatString:
    message = formats.SubstitutionFormatString(omit_empty_values=log.omits_empty)
    if log.fields:
        message.json_format.CopyFrom(_struct(json.loads(log.fields)))
    else:
        message.text_format_source.inline_string = log.text
    return message


def access_loggers(logs: tuple[AccessLog, ...]) -> list[accesslog_pb2.AccessLog]:
    """A logger for each log."""
    return [_logger(log) for log in logs]


def _logger(log: AccessLog) -> accesslog_pb2.AccessLog:
    """The process's own output is written as a stream, so that it need not be opened anew."""
    if log.path == "/dev/stdout":
        stdout = stream_pb2.StdoutAccessLog(log_format=_format(log))
        return accesslog_pb2.AccessLog(name="envoy.access_loggers.stdout", typed_config=packed(stdout))
    if log.path == "/dev/stderr":
        stderr = stream_pb2.StderrAccessLog(log_format=_format(log))
        return accesslog_pb2.AccessLog(name="envoy.access_loggers.stderr", typed_config=packed(stderr))
    file = file_pb2.FileAccessLog(path=log.path, log_format=_format(log))
    return accesslog_pb2.AccessLog(name="envoy.access_loggers.file", typed_config=packed(file))


def refused_connection_loggers(logs: tuple[AccessLog, ...]) -> list[accesslog_pb2.AccessLog]:
    """The loggers of a listener itself: only connections that no chain took."""
    found = [_logger(log) for log in logs if log.has_listener]
    for one in found:
        one.filter.response_flag_filter.flags.append("NR")
    return found
