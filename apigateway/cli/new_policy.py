"""`apigateway new-policy`: a policy file to begin with."""

from __future__ import annotations

from pathlib import Path

import click

from apigateway.cli.policy_template import NAME, policy_text
from apigateway.flow.registry import discover


@click.command()
@click.argument("name")
@click.argument(
    "folder", metavar="[DIR]", default=".", type=click.Path(exists=True, file_okay=False, path_type=Path)
)
def new_policy(name: str, folder: Path) -> None:
    """Write a policy of kind NAME into DIR (here, unless named); its examples pass.

    NAME is lower-case words with "-" between them. A file that is there is never written over.
    """
    if not NAME.fullmatch(name):
        raise click.UsageError('a kind is named in lower case with "-" between words, as in "check-ticket"')
    if discover().get(name) is not None:
        raise click.UsageError(f"there is a policy {name!r} already")
    path = folder / f"{name.replace('-', '_')}.py"
    try:
        with path.open("x", encoding="utf-8") as stream:
            stream.write(policy_text(name))
    except FileExistsError:
        raise click.UsageError(f"{path} is there already") from None
    click.echo(f"{path}: try it with `apigateway test-policy {path}`, serve it with `policy_paths: [{folder}]`")
