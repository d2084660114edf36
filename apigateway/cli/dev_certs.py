"""`apigateway dev-certs`: certificates to try TLS with."""

from __future__ import annotations

from pathlib import Path

import click

from apigateway.cli.authority import Authority


@click.command()
@click.argument("folder", metavar="DIR", type=click.Path(file_okay=False, path_type=Path))
@click.argument("names", nargs=-1, metavar="[NAME]...")
@click.option("--days", default=90, type=click.IntRange(1, 825), show_default=True, help="How long they are valid.")
def dev_certs(folder: Path, names: tuple[str, ...], days: int) -> None:
    """Write a CA for development, a certificate for each NAME (localhost, unless named), and one of a client.

    In DIR: ca.pem and ca.key (used again where they are there), NAME.pem and NAME.key (for *.NAME:
    wildcard.NAME.pem), client.pem and client.key. Names may be IP addresses. Not for production: the keys
    are not encrypted, and who has ca.key can be anyone.
    """
    authority = Authority.of_folder(folder, days=days)
    for name in names or ("localhost",):
        click.echo(authority.issue_server(name))
    click.echo(authority.issue_client("client"))
    click.echo(authority.path)
