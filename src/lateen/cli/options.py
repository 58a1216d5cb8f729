"""Options that several commands share, and the paths they stand for."""

import os
from collections.abc import Callable
from typing import Any, TypeVar

import click

from lateen.base.paths import DEFAULT_NAME, MeshPaths

F = TypeVar("F", bound=Callable[..., Any])


def name_option(function: F) -> F:
    """`--name`: which mesh of this machine."""
    return click.option("--name", default=DEFAULT_NAME, show_default=True, envvar="LATEEN_NAME", help="Which mesh of this machine.")(function)


def output_option(*choices: str) -> Callable[[F], F]:
    """`-o`: text by default, else one of `choices` (json if none is given)."""
    return click.option("-o", "--output", type=click.Choice(["text", *(choices or ("json",))]), default="text", show_default=True, help="Form of the answer.")


def namespace_option(function: F) -> F:
    """`-n`: a namespace; None: all, or what the object's name says."""
    return click.option("-n", "--namespace", default=None, help="Namespace.")(function)


def scope_option(function: F) -> F:
    """`--scope`: what sidecars hold."""
    text = "complete: sidecars hold all they may call. automatic: what they call, a first request fetches the rest."
    return click.option("--scope", type=click.Choice(["complete", "automatic"]), default="complete", show_default=True, help=text)(function)


def mesh_paths(name: str) -> MeshPaths:
    """Where mesh `name` keeps its files, for this user."""
    if not name or "/" in name or name.startswith("."):
        raise click.BadParameter(f"not a name for a mesh: `{name}`", param_hint="--name")
    return MeshPaths.of(name, os.environ, os.geteuid() == 0)
