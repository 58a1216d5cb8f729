"""What proxies refuse, told once for each cause: seven proxies that refuse one edit say one thing. Called by `pilot`."""

import asyncio
from collections import OrderedDict

from lateen.control.events import Events
from lateen.serve.session import Rejected

GATHER_S = 0.5
"""Proxies of one cause answer within so long of each other, mostly."""
REMEMBERED = 256
"""Causes kept; an older one would be told again."""

Cause = tuple[str, str, frozenset[tuple[str, str]]]
"""Type, Envoy's words, and the refused (name, version) pairs."""


class Refusals:
    """Gathers refusals by cause and tells each as one `rejected` event; again only where more proxies come to refuse the same."""

    def __init__(self, events: Events) -> None:
        self._events = events
        self._proxies: OrderedDict[Cause, dict[str, None]] = OrderedDict()
        self._waiting: set[Cause] = set()

    def add(self, proxy: str, rejected: Rejected) -> None:
        """A proxy refuses a response. Needs a running loop."""
        cause = (rejected.type_url, rejected.message, frozenset(rejected.resources))
        proxies = self._proxies.setdefault(cause, {})
        self._proxies.move_to_end(cause)
        if proxy in proxies:
            return
        proxies[proxy] = None
        if cause not in self._waiting:
            self._waiting.add(cause)
            asyncio.get_running_loop().call_later(GATHER_S, self._tell, cause)
        while len(self._proxies) > REMEMBERED:
            self._proxies.popitem(last=False)

    def _tell(self, cause: Cause) -> None:
        self._waiting.discard(cause)
        _, message, resources = cause
        proxies = list(self._proxies.get(cause, ()))
        if proxies:
            names = sorted(name for name, _ in resources)
            self._events.emit({"event": "rejected", "proxy": proxies[0], "proxies": len(proxies), "object": "", "message": message, "resources": names})
