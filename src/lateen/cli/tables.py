"""Plain tables: aligned columns, never cut, readable without colour."""

from collections.abc import Sequence

import click


def print_table(head: Sequence[str], rows: Sequence[Sequence[object]]) -> None:
    """Prints rows below a head, two spaces between columns. An empty cell prints as `-`."""
    cells = [[str(cell) if str(cell) else "-" for cell in row] for row in rows]
    widths = [max(len(line[column]) for line in [list(head), *cells]) for column in range(len(head))]
    for line in [list(head), *cells]:
        click.echo("  ".join(cell.ljust(width) for cell, width in zip(line, widths, strict=True)).rstrip())


def span(seconds: float) -> str:
    """A duration as people say it: `12s`, `5m`, `3h`, `2d`."""
    for unit, size in (("d", 86400), ("h", 3600), ("m", 60)):
        if seconds >= 2 * size:
            return f"{int(seconds // size)}{unit}"
    return f"{int(seconds)}s"
