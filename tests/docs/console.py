"""Runs the `console` blocks of a Markdown file: each `$ command` in bash at the repository's root, its output compared with the lines below it.

In the expected output `…` stands for any text, also over lines; a block without expected lines only has to succeed. `# exit 1` after a command expects that code.
A line `# until: TEXT` below a command repeats the command until TEXT is in its output (90 s).
"""

import os
import re
import subprocess
import time
from dataclasses import dataclass, field
from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]
COMMAND_TIMEOUT_S = 180
UNTIL_S = 90


@dataclass
class Step:
    """One command. `line`: where it is; `expected`: empty: anything."""

    line: int
    command: str
    expected: list[str] = field(default_factory=list)
    code: int = 0
    until: str = ""


def steps(path: Path) -> list[Step]:
    """The commands of a file, in order."""
    found: list[Step] = []
    inside = False
    for number, text in enumerate(path.read_text().splitlines(), 1):
        if text.startswith("```"):
            inside = text.startswith("```console")
        elif inside and text.startswith("$ "):
            command, _, note = text[2:].partition("  # exit ")
            found.append(Step(number, command, code=int(note or 0)))
        elif inside and found and text.startswith("> ") and not found[-1].expected:
            found[-1].command += "\n" + text[2:]
        elif inside and found and text.startswith("# until: "):
            found[-1].until = text.removeprefix("# until: ")
        elif inside and found:
            found[-1].expected.append(text)
    return found


def run(path: Path, environment: dict[str, str]) -> int:
    """Runs all steps; how many. AssertionError with the place of the first that differs."""
    done = steps(path)
    for step in done:
        deadline = time.monotonic() + UNTIL_S
        while True:
            output, code = _run(step.command, environment)
            if not step.until or step.until in output or time.monotonic() > deadline:
                break
            time.sleep(0.2)
        where = f"{path.relative_to(ROOT)}:{step.line}: $ {step.command}\n{output}"
        assert code == step.code, f"exit {code}: {where}"
        assert step.until in output, f"never said `{step.until}`: {where}"
        if step.expected:
            pattern = "".join(".*" if part == "…" else re.escape(part) for part in re.split("(…)", "\n".join(step.expected).strip()))
            pattern = re.sub(r"(?:\\\s)+", r"\\s+", pattern)
            assert re.search(pattern, output, re.S), f"expected\n{chr(10).join(step.expected)}\ngot, at {where}"
    return len(done)


def _run(command: str, environment: dict[str, str]) -> tuple[str, int]:
    done = subprocess.run(
        ["bash", "-c", command],
        cwd=ROOT,
        env=os.environ | environment,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        timeout=COMMAND_TIMEOUT_S,
        stdin=subprocess.DEVNULL,
    )
    return done.stdout, done.returncode
