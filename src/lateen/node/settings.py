"""What one proxy is started with that the mesh's owner may choose. Written into the pod by control (`control.injection`), read by whoever starts its proxy.

It travels as JSON in an annotation, without what is at its default: a pod nobody has chosen anything for has none.
"""

from collections.abc import Mapping
from typing import Final

import msgspec
import structlog

SETTINGS: Final = "lateen.io/proxy"
"""The pod's annotation."""
_log = structlog.get_logger("node.settings")


class ProxySettings(msgspec.Struct, frozen=True, rename="camel", omit_defaults=True, kw_only=True):
    """Source: Istio, mesh ProxyConfig; defaults are Istio's, unless said."""

    concurrency: int | None = None
    """Worker threads. 0: one per core. None: what the machine gives each proxy."""
    drain_s: int = 45
    """How long a listener that is replaced or removed goes on with what it has."""
    termination_drain_s: float = 5.0
    """How long a leaving pod's proxy serves what is open, at most."""
    awaits_last_connection: bool = False
    """A leaving pod's proxy serves what is open until the pod's own grace is over."""
    holds_application: bool = True
    """The application starts when the proxy is ready. Ours as default, as Istio's where Kubernetes has native sidecars."""
    admin_port: int | None = None
    """Of 127.0.0.1 in the pod. None: no port, where Istio opens 15000: whoever is in the pod could stop the proxy there."""
    interception: str = "REDIRECT"
    """REDIRECT or NONE."""
    outbound_port: int = 15001
    inbound_port: int = 15006
    """Where redirected connections come in."""
    runtime: dict[str, bool | int | float | str] = {}
    """Envoy's runtime: name → value."""
    stats_prefixes: tuple[str, ...] = ()
    stats_suffixes: tuple[str, ...] = ()
    stats_regexps: tuple[str, ...] = ()
    """More statistics to keep."""
    environment: dict[str, str] = {}
    """Of the proxy's process; `ISTIO_META_NAME` is told to control as `NAME`."""
    flush_interval_ms: int | None = None
    """How often output is written to its file. None: the node's choice."""
    flush_min_kb: int | None = None
    most_connections: int | None = None
    """Connections that clients may have open. None: any number."""
    most_listener_connections: int | None = None
    """Connections that clients may have open at one listener. None: any number."""
    status_port: int = 15020
    """Where readiness and metrics are told. 0: nowhere."""
    merges_metrics: bool = True
    """The application's metrics are told there as well."""
    compresses_stats: bool = True
    """Metrics are offered compressed."""
    mesh_id: str = ""
    """Empty: the trust domain."""
    service_cluster: str = ""
    """What the proxy calls its application. Empty: by `naming`."""
    naming: str = ""
    """How the application is named: APP_LABEL_AND_NAMESPACE (also if empty), CANONICAL_NAME_ONLY, CANONICAL_NAME_AND_NAMESPACE."""

    @property
    def metadata(self) -> dict[str, str]:
        """What of the environment is told to control. Source: Istio, ISTIO_META_ variables."""
        prefix = "ISTIO_META_"
        return {key.removeprefix(prefix): value for key, value in self.environment.items() if key.startswith(prefix) and key != prefix}


def written(settings: ProxySettings) -> str:
    """The annotation's text; empty where everything is at its default."""
    text = msgspec.json.encode(settings, order="deterministic").decode()
    return "" if text == "{}" else text


def settings_of(annotations: Mapping[str, str]) -> ProxySettings:
    """A pod's settings. An annotation that makes no sense counts as none: control writes it, over what a user may have written there."""
    text = annotations.get(SETTINGS)
    if not text:
        return ProxySettings()
    try:
        return msgspec.json.decode(text, type=ProxySettings)
    except msgspec.DecodeError as error:
        _log.error("the proxy's settings are not readable", reason=str(error))
        return ProxySettings()
