"""How an HTTP connection manager changes a path before routing. Source: Envoy HttpConnectionManager, path normalization."""

import re
from enum import Enum

from lateen.wire.pb.envoy.extensions.filters.network.http_connection_manager.v3 import http_connection_manager_pb2 as hcm_pb2

Escaped = hcm_pb2.HttpConnectionManager.PathWithEscapedSlashesAction
_ESCAPED_SLASH = re.compile(r"%2[fF]|%5[cC]")
_UNRESERVED = re.compile(r"%([0-9a-fA-F]{2})")


class NormalizedPath(Enum):
    """What became of a request for its path. `REJECTED`: 400. `REDIRECTED`: to the unescaped path."""

    KEPT = "kept"
    REJECTED = "rejected"
    REDIRECTED = "redirected"


def normalized(manager: hcm_pb2.HttpConnectionManager, path: str) -> tuple[str, NormalizedPath]:
    """The path (query kept) as routes see it. Order: escaped slashes, dot segments, merged slashes."""
    bare, mark, query = path.partition("?")
    what = NormalizedPath.KEPT
    action = manager.path_with_escaped_slashes_action
    if action not in (Escaped.IMPLEMENTATION_SPECIFIC_DEFAULT, Escaped.KEEP_UNCHANGED) and _ESCAPED_SLASH.search(bare):
        if action == Escaped.REJECT_REQUEST:
            return path, NormalizedPath.REJECTED
        bare = _ESCAPED_SLASH.sub(lambda found: "/" if found[0].lower() == "%2f" else "\\", bare)
        what = NormalizedPath.REDIRECTED if action == Escaped.UNESCAPE_AND_REDIRECT else what
    if manager.normalize_path.value:
        bare = _without_dots(bare)
    if manager.merge_slashes:
        bare = re.sub("/+", "/", bare)
    return bare + mark + query, what


def _without_dots(path: str) -> str:
    """Backslashes become slashes, unreserved characters lose their escapes, `.` and `..` are resolved (RFC 3986, 5.2.4)."""
    path = _UNRESERVED.sub(_unescaped, path.replace("\\", "/"))
    if not path.startswith("/"):
        return path
    kept: list[str] = []
    segments = path.split("/")[1:]
    for at, segment in enumerate(segments):
        is_last = at == len(segments) - 1
        if segment == "..":
            del kept[-1:]
        elif segment != ".":
            kept.append(segment)
            continue
        if is_last:
            kept.append("")
    return "/" + "/".join(kept)


def _unescaped(found: "re.Match[str]") -> str:
    character = chr(int(found[1], 16))
    return character if character.isascii() and (character.isalnum() or character in "-._~") else found[0]
