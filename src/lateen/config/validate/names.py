"""Rules for names: hosts, labels, ports, addresses, regular expressions, durations. Source: Istio, pkg/config/validation; RFC 1123."""

import re
from collections.abc import Mapping, Sequence
from functools import lru_cache

import re2

from lateen.base.addresses import is_ip
from lateen.config.kinds.values import Duration
from lateen.config.validate.report import Report

_LABEL = re.compile(r"[a-zA-Z0-9](?:[-a-zA-Z0-9]*[a-zA-Z0-9])?")
_WILDCARD_LABEL = re.compile(r"\*|(?:\*|\*-)?[a-zA-Z0-9](?:[-a-zA-Z0-9]*[a-zA-Z0-9])?")
_LABEL_KEY = re.compile(r"(?:[a-z0-9](?:[-a-z0-9.]*[a-z0-9])?/)?[A-Za-z0-9](?:[-A-Za-z0-9_.]*[A-Za-z0-9])?")
_LABEL_VALUE = re.compile(r"(?:[A-Za-z0-9](?:[-A-Za-z0-9_.]*[A-Za-z0-9])?)?")
_HEADER = re.compile(r"[-_A-Za-z0-9]+")
_BREAKS = re.compile(r"[\x00\r\n]")
_CONTROL = re.compile(r"[\x00-\x08\x0A-\x1F\x7F]")
MAX_HOST = 255
MAX_LABEL = 63
MAX_REGEX = 1024
"""Characters. Envoy bounds the size of RE2 programs."""
MAX_HEADER_NAME = 16384
"""Bytes. Source: Envoy, HeaderValue."""
MAX_REQUEST_HEADERS = 60 * 1024
"""Bytes of a request's path and headers together. Source: Envoy, max_request_headers_kb, which Istio leaves as it is."""
MILLISECOND_NS = 1_000_000
PROTOCOLS = frozenset({"grpc", "grpc-web", "http", "http_proxy", "http2", "https", "tcp", "tls", "udp", "mongo", "redis", "mysql", "hbone", "doublehbone"})
"""Names of protocols, lower case. Source: Istio, pkg/config/protocol."""
CIPHER_SUITES = frozenset(
    f"{exchange}-{cipher}"
    for exchange in ("ECDHE-ECDSA", "ECDHE-RSA")
    for cipher in ("AES128-GCM-SHA256", "AES256-GCM-SHA384", "CHACHA20-POLY1305", "AES128-SHA", "AES256-SHA", "AES128-SHA256")
) | frozenset(("AES128-GCM-SHA256", "AES256-GCM-SHA384", "AES128-SHA", "AES256-SHA", "DES-CBC3-SHA"))
"""The cipher suites that Envoy's TLS library knows; one it doesn't know would make it refuse the whole listener. Source: Envoy, TlsParameters."""
HTTP_PROTOCOLS = frozenset({"http", "http2", "http_proxy", "grpc", "grpc-web"})
TLS_PROTOCOLS = frozenset({"https", "tls"})


def is_label(text: str) -> bool:
    """Whether it is one DNS label."""
    return len(text) <= MAX_LABEL and _LABEL.fullmatch(text) is not None


def host_problem(host: str, allows_wildcard: bool = True) -> str:
    """Why `host` is no DNS name (with a wildcard only as its first label's beginning, where allowed); empty: it is one."""
    if not host:
        return "a host must not be empty"
    if len(host) > MAX_HOST:
        return f"longer than {MAX_HOST} characters: `{host}`"
    labels = host.split(".")
    first = _WILDCARD_LABEL if allows_wildcard else _LABEL
    if len(labels[0]) > MAX_LABEL or first.fullmatch(labels[0]) is None:
        return f"not a DNS name: `{host}` (label `{labels[0]}`)"
    for index, label in enumerate(labels[1:], 1):
        if label == "" and index == len(labels) - 1:
            continue
        if not is_label(label):
            return f"not a DNS name: `{host}` (label `{label}`)"
    if len(labels) > 1 and labels[-1].isdigit():
        return f"not a DNS name: `{host}` (its last label is a number)"
    return ""


def check_port(report: Report, field: str, number: int) -> None:
    """1 to 65535."""
    if not 1 <= number <= 65535:
        report.error(field, f"a port must be between 1 and 65535: {number}")


def check_duration(report: Report, field: str, value: Duration | None) -> None:
    """At least a millisecond, in whole milliseconds; absent is fine. Source: Istio, ValidateDuration."""
    if value is None:
        return
    if value.nanoseconds < MILLISECOND_NS:
        report.error(field, f"must be at least 1ms: {value}", "leave it out for no limit" if value.nanoseconds == 0 else "")
    elif value.nanoseconds % MILLISECOND_NS:
        report.error(field, f"must be in whole milliseconds: {value}")


def check_percentage(report: Report, field: str, value: float) -> None:
    """0 to 100."""
    if not 0 <= value <= 100:
        report.error(field, f"a percentage must be between 0 and 100: {value:g}")


_ESCAPED = re.compile(r"\\(.?)", re.DOTALL)


@lru_cache(maxsize=4096)
def regex_problem(pattern: str) -> str:
    """Why RE2 does not take `pattern`; empty: it does."""
    if len(pattern) > MAX_REGEX:
        return f"a regular expression may have {MAX_REGEX} characters, this has {len(pattern)}"
    options = re2.Options()
    options.log_errors = False
    try:
        re2.compile(pattern, options)
    except re2.error as error:
        return f"not a regular expression that RE2 takes: `{pattern}` ({_reason(error)})"
    return ""


def _reason(error: Exception) -> str:
    cause = error.args[0] if error.args else ""
    return cause.decode() if isinstance(cause, bytes) else str(cause)


def check_regex(report: Report, field: str, pattern: str) -> None:
    """Not empty, and RE2 takes it."""
    problem = regex_problem(pattern) if pattern else "a regular expression must not be empty"
    if problem:
        report.error(field, problem)


def check_substitution(report: Report, field: str, pattern: str, substitution: str) -> None:
    """What replaces a match names groups by `\\0` to `\\9` that the pattern has. RE2 replaces nothing at all where it does not; Envoy does not say so."""
    if not pattern or regex_problem(pattern):
        return
    groups = re2.compile(pattern).groups
    for named in _ESCAPED.findall(substitution):
        if named != "\\" and not (named.isdecimal() and int(named) <= groups):
            report.warning(
                field, f"`\\{named}` names no group of the pattern, so nothing is replaced", f"the pattern has {groups} groups; write a backslash as two"
            )
            return


def check_labels(report: Report, field: str, labels: Mapping[str, str]) -> None:
    """Keys and values that labels may have."""
    for key, value in labels.items():
        if len(key.rpartition("/")[2]) > MAX_LABEL or _LABEL_KEY.fullmatch(key) is None:
            report.error(field, f"not a label's key: `{key}`")
        if len(value) > MAX_LABEL or _LABEL_VALUE.fullmatch(value) is None:
            report.error(f"{field}[{key}]", f"not a label's value: `{value}`")


def check_selector(report: Report, field: str, labels: Mapping[str, str]) -> None:
    """A selector's labels: not empty keys, no wildcards. Source: Istio, validateWorkloadSelector."""
    for key, value in labels.items():
        if not key:
            report.error(field, "a selector's key must not be empty")
        if "*" in key:
            report.error(field, f"a selector has no wildcards: key `{key}`")
        if "*" in value:
            report.error(f"{field}[{key}]", f"a selector has no wildcards: value `{value}`")
    if not labels:
        report.warning(field, "an empty selector selects every workload of the namespace", "leave the selector out if you mean it")


def check_export_to(report: Report, entries: Sequence[str], namespace: str, is_entry: bool = False, has_selector: bool = False) -> None:
    """`.`, `*`, namespaces (`~` for a ServiceEntry): each once, `*` and `~` alone; a DestinationRule with a selector exports nowhere.

    Source: Istio, validateExportTo.
    """
    seen: set[str] = set()
    for index, entry in enumerate(entries):
        field = f"spec.exportTo[{index}]"
        key = namespace if entry == "." else entry
        if key in seen:
            report.error(field, f"twice in exportTo: `{entry}`")
        elif key not in ("*", "~") and not is_label(key):
            report.error(field, f"neither `.`, `*` nor a namespace: `{entry}`")
        seen.add(key)
    if has_selector and seen and seen != {namespace}:
        report.error("spec.exportTo", "a rule with a workloadSelector is never exported beyond its namespace", "leave exportTo out")
    if "*" in seen and len(entries) > 1:
        report.error("spec.exportTo", "`*` is everything: it stands alone")
    if "~" in seen and not is_entry:
        report.error("spec.exportTo", "`~` (nobody) is for a ServiceEntry only")
    elif "~" in seen and len(entries) > 1:
        report.error("spec.exportTo", "`~` is nobody: it stands alone")


def check_protocol(report: Report, field: str, protocol: str) -> None:
    """A known protocol, in any case; empty is detection."""
    if protocol and protocol.lower() not in PROTOCOLS:
        report.error(field, f"no such protocol: `{protocol}`", "one of " + ", ".join(sorted(name.upper() for name in PROTOCOLS)))


def check_header_name(report: Report, field: str, name: str) -> None:
    """Not empty, and what can be a name."""
    if not name:
        report.error(field, "a header's name must not be empty")
    elif len(name.encode()) > MAX_HEADER_NAME:
        report.error(field, f"a header's name may have {MAX_HEADER_NAME} bytes, this has {len(name.encode())}")
    elif _BREAKS.search(name):
        report.error(field, "a header's name holds no line breaks and no zero bytes")


def check_matched(report: Report, field: str, text: str | None) -> None:
    """What a request is compared with can be in a request."""
    if text and len(text.encode()) > MAX_REQUEST_HEADERS:
        message = f"no request matches: proxies take {MAX_REQUEST_HEADERS} bytes of path and headers, this alone has {len(text.encode())}"
        report.warning(field, message, "shorten it, or leave this condition out")


def check_written(report: Report, field: str, text: str) -> None:
    """What is written into a path or an authority is one line, and small enough for the next proxy."""
    if _CONTROL.search(text):
        report.error(field, "holds a line break or another control character, which no path and no authority may have")
    elif len(text.encode()) > MAX_REQUEST_HEADERS:
        message = f"the next proxy answers 431: it takes {MAX_REQUEST_HEADERS} bytes of path and headers, this alone has {len(text.encode())}"
        report.warning(field, message, "shorten it")


def is_header_token(name: str) -> bool:
    """Letters, digits, `-` and `_`."""
    return _HEADER.fullmatch(name) is not None


def check_gateway_host(report: Report, field: str, host: str, is_gateway: bool) -> None:
    """`namespace/host` (a Gateway's may be a bare host); no short names. Source: Istio, validateNamespaceSlashWildcardHostname."""
    namespace, slash, name = host.partition("/")
    if not slash:
        if not is_gateway:
            report.error(field, f"must be of the form namespace/host: `{host}`", f"write ./{host} or */{host}")
            return
        name = host
    elif not namespace or not name:
        report.error(field, f"namespace and host must not be empty: `{host}`")
        return
    elif (home := namespace if is_gateway else namespace.removeprefix("~") or "*") not in ("*", ".") and not is_label(home):
        report.error(field, f"neither `*`, `.` nor a namespace: `{namespace}`")
    if name != "*" and "." not in name:
        report.error(field, f"a short name does not say which host is meant: `{name}`", "write it out: name.namespace.svc.cluster.local")
    if (problem := host_problem(name)) and not is_ip(name):
        report.error(field, problem)


def check_unix_path(report: Report, field: str, path: str) -> None:
    """`unix://` with an absolute path or an abstract name."""
    rest = path.removeprefix("unix://")
    if not rest.startswith(("/", "@")):
        report.error(field, f"a Unix socket needs an absolute path or an abstract name: `{path}`")
    elif rest.endswith("/"):
        report.error(field, f"a folder is no socket: `{path}`")
