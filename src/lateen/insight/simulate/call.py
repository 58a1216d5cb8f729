"""A call and its answer, as the behaviour data set writes them (`calls.json`). Values only."""

from dataclasses import dataclass
from enum import Enum
from typing import Any

Json = Any  # the files of a case are plain JSON; each reader knows its own shape.


class Direction(Enum):
    """`OUTBOUND`: redirected to the sidecar by the client's side; `INBOUND`: redirected by the server's; `GATEWAY`: not redirected."""

    OUTBOUND = "outbound"
    INBOUND = "inbound"
    GATEWAY = "gateway"


class Speech(Enum):
    """What the client says. `TCP`: bytes that no HTTP inspector knows."""

    HTTP = "http"
    HTTP2 = "http2"
    TCP = "tcp"


class ClientTls(Enum):
    """`TLS`: without a client certificate. `MTLS`: with one of the mesh, or one that the gateway's server accepts."""

    PLAINTEXT = "plaintext"
    TLS = "tls"
    MTLS = "mtls"


@dataclass(frozen=True)
class Call:
    """One call. `headers`: lower-case names; `path` with its query; `alpn` and `sni`: empty where not sent. `source`: the client's address."""

    direction: Direction
    address: str
    port: int
    speech: Speech = Speech.HTTP
    tls: ClientTls = ClientTls.PLAINTEXT
    alpn: str = ""
    sni: str = ""
    host: str = ""
    path: str = "/"
    method: str = "GET"
    headers: tuple[tuple[str, str], ...] = ()
    source: str = "192.0.2.254"
    source_port: int = 40000

    @staticmethod
    def read(given: Json) -> "Call":
        """From the `call` of `calls.json`; absent fields have the data set's defaults. Raises KeyError, ValueError: not a call."""
        return Call(
            direction=Direction(given["direction"]),
            address=given["address"],
            port=int(given["port"]),
            speech=Speech(given.get("protocol", "http")),
            tls=ClientTls(given.get("tls", "plaintext")),
            alpn=given.get("alpn", ""),
            sni=given.get("sni", ""),
            host=given.get("host", ""),
            path=given.get("path", "/"),
            method=given.get("method", "GET"),
            headers=tuple(sorted((name.lower(), value) for name, value in given.get("headers", {}).items())),
        )


class Outcome(Enum):
    """How a call ends. Source: the behaviour data set's README."""

    CLUSTER = "cluster"
    WEIGHTED_CLUSTERS = "weighted_clusters"
    REDIRECT = "redirect"
    DIRECT_RESPONSE = "direct_response"
    TLS_REDIRECT = "tls_redirect"
    NO_LISTENER = "no_listener"
    NO_FILTER_CHAIN = "no_filter_chain"
    NO_VIRTUAL_HOST = "no_virtual_host"
    NO_ROUTE = "no_route"
    PROTOCOL_ERROR = "protocol_error"
    TLS_ERROR = "tls_error"
    MTLS_ERROR = "mtls_error"
    UNSUPPORTED = "unsupported"
    ERROR = "error"
