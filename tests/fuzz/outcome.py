"""Runs a generator of this folder in a process of its own, and reads what came of it."""

import json
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

ROOT = Path(__file__).resolve().parents[2]


def outcome(module: str, *arguments: object, seconds: float) -> dict[str, Any]:
    """What `python -m tests.fuzz.MODULE ARGUMENTS… SECONDS` prints. `seconds`: nothing more is generated then; twice that ends it."""
    program = [sys.executable, "-m", f"tests.fuzz.{module}", *map(str, arguments), str(seconds)]
    paths = {"PYTHONPATH": f"{ROOT}{os.pathsep}{ROOT / 'tests' / 'conformance' / 'real_envoy'}", "PYTHONHASHSEED": "0"}  # the seed decides alone
    done = subprocess.run(program, capture_output=True, text=True, timeout=2 * seconds, cwd=ROOT, env=os.environ | paths)
    assert done.stdout, done.stderr[-3000:]
    read: dict[str, Any] = json.loads(done.stdout)
    print({name: value for name, value in read.items() if not isinstance(value, list)})
    return read
