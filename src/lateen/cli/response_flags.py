"""Envoy's response flags in words, for `lateen logs --access`. Source: Envoy, access log command operators, RESPONSE_FLAGS."""

import re

WORDS = {
    "UH": "no healthy endpoint",
    "UF": "could not connect to the endpoint",
    "UO": "circuit breaker open: too many connections or requests",
    "NR": "no route or filter chain matches",
    "NC": "the route's cluster does not exist (a missing service or subset)",
    "URX": "all retries failed, or too many connection attempts",
    "DC": "the client closed the connection",
    "UC": "the endpoint closed the connection",
    "UT": "upstream request timeout",
    "UR": "the endpoint reset the request",
    "LR": "reset by this proxy",
    "DR": "reset by the client",
    "LH": "the health check failed",
    "RL": "rate limited",
    "RLSE": "the rate limit service failed",
    "UAEX": "denied by external authorization",
    "DI": "delayed by an injected fault",
    "FI": "aborted by an injected fault",
    "IH": "an invalid header",
    "SI": "stream idle timeout",
    "DT": "the connection or request lived too long",
    "DPE": "the client broke the protocol",
    "UPE": "the endpoint broke the protocol",
    "UMSDR": "upstream stream lived too long",
    "OM": "overload: this proxy sheds load",
    "DF": "the name could not be resolved",
    "NFCF": "a filter's configuration is missing",
    "RFCF": "answered from the cache",
    "DO": "dropped: the service is overloaded",
}
_TEXT = re.compile(r'" \d{1,3} ([A-Z]+(?:,[A-Z]+)*) ')
_JSON = re.compile(r'"response_flags": ?"([A-Z]+(?:,[A-Z]+)*)"')


def in_words(line: str) -> str:
    """The log line with its flags explained at the end; a line without any as it is."""
    match = _TEXT.search(line) or _JSON.search(line)
    known = [f"{flag}: {WORDS[flag]}" for flag in match[1].split(",") if flag in WORDS] if match else []
    return f"{line.rstrip()}  # {', '.join(known)}" if known else line.rstrip()
