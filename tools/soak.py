"""`./run soak [N]`: N rolling restarts under load (100), a line for each. Exit 1 if a request failed: it is printed with what proxies logged of it."""

import argparse
import sys
from collections.abc import Sequence

from tests.live.harness import Mesh
from tests.live.rolling import restart_all

RESTARTS = 100


def main(arguments: Sequence[str] | None = None) -> int:
    """0: no request failed."""
    parser = argparse.ArgumentParser(prog="./run soak", description=__doc__)
    parser.add_argument("count", nargs="?", type=int, default=RESTARTS, help=f"how many restarts (default: {RESTARTS})")
    options = parser.parse_args(arguments)
    mesh = Mesh("soak")
    try:
        requests = restart_all(mesh, options.count, lambda line: print(line, flush=True))
    except AssertionError as error:
        print(error, file=sys.stderr)
        return 1
    finally:
        mesh.close()
    print(f"{options.count} restarts, {requests} requests over new and lasting connections, 0 failed")
    return 0


if __name__ == "__main__":
    sys.exit(main())
