"""Typed objects as the JSON that Kubernetes writes: for the node, `lateen get`, and anything that leaves the process. The reverse of `config.decode`."""

from collections.abc import Mapping
from datetime import UTC, datetime
from enum import Enum
from functools import cache
from typing import Any

import msgspec

from lateen.base.secrets import Secret
from lateen.config.kinds.objects import Object
from lateen.config.kinds.values import Duration, Json

_TIMES = ("creationTimestamp", "deletionTimestamp")


def as_json(item: Object, *, reveals: bool = False) -> dict[str, Any]:  # Any: JSON
    """The object with apiVersion and kind; whatever is at its default is left out. `reveals`: secrets are written out, which is for the node alone."""
    plain: dict[str, Any] = _plain(item, reveals)
    metadata = plain.setdefault("metadata", {})
    for key in _TIMES:
        if key in metadata:
            metadata[key] = datetime.fromtimestamp(metadata[key], UTC).strftime("%Y-%m-%dT%H:%M:%SZ")
    return {"apiVersion": item.api_version(), "kind": type(item).kind or type(item).__name__, **plain}


@cache
def _fields(kind: type[msgspec.Struct]) -> tuple[tuple[str, str, Any], ...]:
    """(attribute, name in JSON, default) of a struct."""
    return tuple((one.name, one.encode_name, one.default) for one in msgspec.structs.fields(kind))


def _plain(value: Any, reveals: bool) -> Any:  # JSON
    match value:
        case msgspec.Struct():
            pairs = ((name, default, getattr(value, attribute)) for attribute, name, default in _fields(type(value)))
            return {name: _plain(item, reveals) for name, default, item in pairs if type(item) is not type(default) or item != default}
        case Secret():
            return value.reveal().decode(errors="replace") if reveals else str(value)
        case Json():
            return value.plain()
        case Mapping():
            return {key: _plain(item, reveals) for key, item in value.items()}
        case Enum():
            return value.value
        case Duration():
            return str(value)
        case tuple() | list():
            return [_plain(item, reveals) for item in value]
        case bytes():
            return value.decode(errors="replace")
        case _:
            return value
