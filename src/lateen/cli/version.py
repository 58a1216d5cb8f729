"""`lateen version`."""

import importlib.metadata
import json

import click

from lateen.base.errors import EnvoyMissing
from lateen.cli.options import output_option
from lateen.wire.binary import envoy_version


@click.command("version")
@output_option()
def version_command(output: str) -> None:
    """Versions of Lateen and of its Envoy."""
    try:
        envoy = envoy_version()
    except EnvoyMissing as error:
        envoy = f"missing ({error})"
    versions = {"lateen": importlib.metadata.version("lateen"), "envoy": envoy}
    click.echo(json.dumps(versions) if output == "json" else f"lateen {versions['lateen']}\nenvoy {versions['envoy']}")
