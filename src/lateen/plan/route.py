"""What a route table says, as values: virtual hosts, what a route matches, what it does. No YAML kinds, no Envoy messages.

Made by the files beside this one, emitted by `xds.routes`.
"""

from dataclasses import dataclass
from enum import Enum

from lateen.base.names import ObjectRef


class Form(Enum):
    """How a text is compared."""

    EXACT = "exact"
    PREFIX = "prefix"
    REGEX = "regex"  # RE2, the whole text
    PRESENT = "present"  # it is there
    SEGMENTS = "segments"  # paths: this one, or one below it


@dataclass(frozen=True)
class TextMatch:
    """A text condition. `value` is empty for PRESENT."""

    form: Form
    value: str = ""


PRESENT = TextMatch(Form.PRESENT)
ANY_PATH = TextMatch(Form.PREFIX, "/")


@dataclass(frozen=True)
class HeaderMatch:
    """One header. `inverts`: it must not hold. `missing_is_empty`: a header that is not there counts as empty."""

    name: str
    match: TextMatch
    inverts: bool = False
    missing_is_empty: bool = False


@dataclass(frozen=True)
class ClaimMatch:
    """One claim of the request's token. `path`: claim names, outermost first."""

    path: tuple[str, ...]
    match: TextMatch
    inverts: bool = False


@dataclass(frozen=True)
class QueryMatch:
    """One query parameter."""

    name: str
    match: TextMatch


@dataclass(frozen=True)
class RouteMatch:
    """All conditions of a route; they are ANDed. `is_case_sensitive` concerns the path."""

    path: TextMatch = ANY_PATH
    is_case_sensitive: bool = True
    headers: tuple[HeaderMatch, ...] = ()
    query: tuple[QueryMatch, ...] = ()
    claims: tuple[ClaimMatch, ...] = ()

    @property
    def is_everything(self) -> bool:
        """Every request matches, so that no later route is ever reached."""
        every = self.path in (ANY_PATH, TextMatch(Form.SEGMENTS, "/"), TextMatch(Form.REGEX, ".*"))
        return every and not (self.headers or self.query or self.claims)


@dataclass(frozen=True)
class HeaderChanges:
    """What becomes of headers: `removed`, then `put` (in place of what is there), then `added`. Pairs of name and value."""

    put: tuple[tuple[str, str], ...] = ()
    added: tuple[tuple[str, str], ...] = ()
    removed: tuple[str, ...] = ()


NO_CHANGES = HeaderChanges()


@dataclass(frozen=True)
class Fraction:
    """A share of requests: numerator of `of`, which is 100, 10 000 or 1 000 000."""

    numerator: int
    of: int = 1_000_000


@dataclass(frozen=True)
class Retries:
    """`per_try_timeout_s`, `base_interval_s` None: Envoy's own. `avoids_tried_hosts`: a retry goes to another endpoint if there is one."""

    attempts: int
    on: str
    codes: tuple[int, ...] = ()
    per_try_timeout_s: float | None = None
    base_interval_s: float | None = None
    avoids_tried_hosts: bool = True
    prefers_other_priorities: bool = False
    host_attempts: int = 5


@dataclass(frozen=True)
class HashKey:
    """What of a request chooses the endpoint. Exactly one of `header`, `cookie`, `query` is not empty, or `is_source_ip`.

    `cookie_ttl_s` None: a cookie is never made; 0: a session cookie. `origins`: the DestinationRules that say so."""

    header: str = ""
    cookie: str = ""
    cookie_ttl_s: float | None = None
    cookie_path: str = ""
    cookie_attributes: tuple[tuple[str, str], ...] = ()
    query: str = ""
    is_source_ip: bool = False
    origins: tuple[ObjectRef, ...] = ()


@dataclass(frozen=True)
class Target:
    """A cluster of a route and what is done only for it. `weight`: relative to the other targets'. `authority` empty: as it is."""

    cluster: str
    weight: int = 0
    request: HeaderChanges = NO_CHANGES
    response: HeaderChanges = NO_CHANGES
    authority: str = ""


@dataclass(frozen=True)
class Mirror:
    """A copy of requests, whose answer nobody awaits."""

    cluster: str
    share: Fraction


@dataclass(frozen=True)
class RegexRewrite:
    """RE2 `pattern` anywhere in the path, and what takes its place (`\\1` …)."""

    pattern: str
    substitution: str


@dataclass(frozen=True)
class Forward:
    """Send it on. `is_split`: several targets were asked for (one may be left). `timeout_s` 0: none.
    `prefix`: takes the place of what the path condition matched; None: no."""

    targets: tuple[Target, ...]
    is_split: bool = False
    timeout_s: float = 0.0
    retries: Retries | None = None
    prefix: str | None = None
    regex: RegexRewrite | None = None
    authority: str = ""
    mirrors: tuple[Mirror, ...] = ()
    hash_keys: tuple[HashKey, ...] = ()
    fails_with_500: bool = False
    """A cluster that is not there answers 500 (Gateway API), not 503."""


@dataclass(frozen=True)
class Redirect:
    """Answer with another place. Empty: as it is. `prefix`: in place of the matched prefix; None: no. `port` 0: none."""

    code: int = 301
    host: str = ""
    path: str = ""
    prefix: str | None = None
    regex: RegexRewrite | None = None
    scheme: str = ""
    port: int = 0


@dataclass(frozen=True)
class Respond:
    """Answer at once."""

    status: int
    text: str = ""
    data: bytes = b""


Action = Forward | Redirect | Respond


@dataclass(frozen=True)
class Fault:
    """Injected faults. `delay_s`, `http_status`, `grpc_status` None: none. A share None: not said, which is Envoy's default (abort: never; delay: none)."""

    delay_s: float | None = None
    delay_share: Fraction | None = None
    http_status: int | None = None
    grpc_status: int | None = None
    abort_share: Fraction | None = None


@dataclass(frozen=True)
class Cors:
    """Cross-origin policy. None: not said. `max_age_s`: whole seconds as text."""

    origins: tuple[TextMatch, ...]
    methods: str = ""
    headers: str = ""
    exposed: str = ""
    max_age_s: str = ""
    credentials: bool | None = None
    forwards_unmatched_preflights: bool = True


@dataclass(frozen=True)
class Route:
    """One route. `operation`: names the call in traces. `origin`: what decided it; None: nothing written."""

    name: str
    match: RouteMatch
    action: Action
    request: HeaderChanges = NO_CHANGES
    response: HeaderChanges = NO_CHANGES
    fault: Fault | None = None
    cors: Cors | None = None
    operation: str = ""
    stat_prefix: str = ""
    origin: ObjectRef | None = None


@dataclass(frozen=True)
class VirtualHost:
    """The routes of some domains. `requires_tls`: plaintext is redirected to https. `counts_attempts`: the upstream learns the number of the attempt."""

    name: str
    domains: tuple[str, ...]
    routes: tuple[Route, ...]
    requires_tls: bool = False
    counts_attempts: bool = True

    @property
    def origins(self) -> frozenset[ObjectRef]:
        """The objects that decided it."""
        rules = (origin for route in self.routes if isinstance(route.action, Forward) for key in route.action.hash_keys for origin in key.origins)
        return frozenset((*(route.origin for route in self.routes if route.origin), *rules))
