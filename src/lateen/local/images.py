"""How an image runs on this machine: the `--image-map` file. Called by `daemon` (read) and `runner` (applied to each container).

    images:
    - match: "docker.io/istio/examples-bookinfo-reviews-*"     # glob over the image as written
      command: [python3, reviews.py]
      env: {VERSION: v1}
      workingDir: reviews
      mounts: [{from: data, to: /opt/data}]

Paths are relative to the file. The first entry that matches counts, and wins over the YAML's command; the YAML's args are kept after it.
"""

import os
from fnmatch import fnmatchcase
from pathlib import Path

import msgspec
import yaml

from lateen.base.errors import LateenError
from lateen.local.isolation.seam import Mount

_MAX_BYTES = 1 << 20


class ImageMapError(LateenError):
    """The image map cannot be used; the text is one line with the file's name."""


class _Mount(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    source: str = msgspec.field(name="from")
    target: str = msgspec.field(name="to")


class _Entry(msgspec.Struct, frozen=True, forbid_unknown_fields=True, rename="camel"):
    match: str
    command: tuple[str, ...] = ()
    env: dict[str, str] = {}
    working_dir: str = ""
    mounts: tuple[_Mount, ...] = ()


class _File(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    images: tuple[_Entry, ...] = ()


class ImageRun(msgspec.Struct, frozen=True):
    """How one image runs here. `command` empty: the YAML's counts. `working_dir` empty: the YAML's counts."""

    command: tuple[str, ...] = ()
    env: dict[str, str] = {}
    working_dir: str = ""
    mounts: tuple[Mount, ...] = ()


class ImageMap:
    """The entries of one file."""

    def __init__(self, folder: Path, entries: tuple[_Entry, ...]) -> None:
        self._folder = folder
        self._entries = entries

    def run(self, image: str) -> ImageRun | None:
        """How `image` runs. None: the map does not say. `docker.io/` and a tag `latest` may be left out of a pattern."""
        for entry in self._entries:
            if any(fnmatchcase(spelling, entry.match) for spelling in _spellings(image)):
                return self._resolved(entry)
        return None

    def _resolved(self, entry: _Entry) -> ImageRun:
        command = tuple(self._path(word) if index == 0 and "/" in word else word for index, word in enumerate(entry.command))
        mounts = tuple(Mount(mount.target, Path(self._path(mount.source))) for mount in entry.mounts)
        return ImageRun(command, entry.env, self._path(entry.working_dir) if entry.working_dir else str(self._folder), mounts)

    def _path(self, text: str) -> str:
        return os.path.normpath(self._folder / text)  # links stay: an interpreter's link is what makes it a virtual environment's


def _spellings(image: str) -> tuple[str, ...]:
    name, _, tag = image.partition("@")[0].rpartition(":")
    untagged = name if name and "/" not in tag else image.partition("@")[0]
    short = image.removeprefix("docker.io/").removeprefix("library/")
    return (image, short, untagged, untagged.removeprefix("docker.io/").removeprefix("library/"))


NO_IMAGES = ImageMap(Path("/"), ())
"""No map was given."""


def image_map(path: Path) -> ImageMap:
    """Read a map. ImageMapError."""
    try:
        text = path.read_bytes()
        if len(text) > _MAX_BYTES:
            raise ImageMapError(f"the image map is larger than 1 MB: {path}")
        if text.count(b"[") + text.count(b"{") > 10_000:  # the C parser has no limit of its own to nesting
            raise ImageMapError(f"the image map has too many brackets: {path}")
        loaded = msgspec.convert(yaml.load(text, yaml.CSafeLoader) or {}, _File, strict=False)
    except OSError as error:
        raise ImageMapError(f"cannot read the image map ({error.strerror}): {path}") from error
    except (yaml.YAMLError, msgspec.ValidationError) as error:
        raise ImageMapError(f"the image map {path} is wrong: {' '.join(str(error).split())}") from error
    return ImageMap(path.absolute().parent, loaded.images)
