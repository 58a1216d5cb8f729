"""`./run bench [NAME…] [-o json]`: prints a figure a line, as it is known."""

import argparse
import json
import sys
import time

from tools.bench import control_plane, emission, machine

FIGURES = {
    "start": machine.start,
    "edit": machine.edit,
    "endpoint": machine.endpoint,
    "memory": machine.memory,
    "scope": machine.scope,
    "hops": machine.hops,
    "build": control_plane.build,
    "push": control_plane.push,
    "check": emission.check,
}


def main() -> int:
    """0: all were measured."""
    parser = argparse.ArgumentParser(prog="./run bench", description=__doc__)
    parser.add_argument("names", nargs="*", choices=[*FIGURES, []], metavar="NAME", help=f"which: {', '.join(FIGURES)} (default: all)")
    parser.add_argument("-o", "--output", choices=["text", "json"], default="text")
    options = parser.parse_args()
    found = {}
    for name in options.names or FIGURES:
        print(f"{name}: {(FIGURES[name].__doc__ or '').splitlines()[0]}", file=sys.stderr, flush=True)
        began = time.monotonic()
        found[name] = FIGURES[name]()
        if options.output == "text":
            print(f"{name}  " + "  ".join(f"{key}={value}" for key, value in found[name].items()), flush=True)
        print(f"  took {time.monotonic() - began:.0f} s", file=sys.stderr, flush=True)
    if options.output == "json":
        print(json.dumps(found, indent=1))
    return 0


if __name__ == "__main__":
    sys.exit(main())
