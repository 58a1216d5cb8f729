"""`lateen ca`: certificates for clients outside the mesh."""

import re
import time
from pathlib import Path

import click

from lateen.base.errors import UsageError
from lateen.cli.options import mesh_paths, name_option

DEFAULT_TRUST_DOMAIN = "cluster.local"
"""Of a mesh that has no root yet."""


@click.group("ca")
def ca_command() -> None:
    """Certificates of the mesh, for clients outside of it."""


def seconds(text: str) -> float:
    """`90s`, `30m`, `24h`, `7d` or plain seconds. Raises UsageError."""
    match = re.fullmatch(r"(\d+(?:\.\d+)?)([smhd]?)", text)
    if not match or float(match[1]) <= 0:
        raise UsageError(f"--ttl: not a duration: `{text}` (write it as 90s, 30m, 24h or 7d)")
    return float(match[1]) * {"": 1, "s": 1, "m": 60, "h": 3600, "d": 86400}[match[2]]


@ca_command.command("issue")
@click.argument("identity", metavar="NAMESPACE/SERVICEACCOUNT")
@click.option("--out", type=click.Path(file_okay=False, path_type=Path), required=True, help="Folder for cert-chain.pem, key.pem and root-cert.pem.")
@click.option("--ttl", default="24h", show_default=True, help="Life of the certificate.")
@name_option
def issue_command(identity: str, out: Path, ttl: str, name: str) -> None:
    """Write a certificate, its key (0600) and the mesh's root for one identity."""
    from lateen.identity.outside import issue_to, parse_account
    from lateen.identity.store import load_or_create

    now_s = time.time()
    authority = load_or_create(mesh_paths(name).ca, DEFAULT_TRUST_DOMAIN, now_s)
    for path in issue_to(out, authority, parse_account(identity, authority.trust_domain), now_s, seconds(ttl)):
        click.echo(path)
