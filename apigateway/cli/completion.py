"""`apigateway completion`: what a shell has to know."""

from __future__ import annotations

import click
from click.shell_completion import get_completion_class


@click.command()
@click.argument("shell", type=click.Choice(["bash", "zsh", "fish"]))
def completion(shell: str) -> None:
    """Print a script that completes this command; for bash: `eval "$(apigateway completion bash)"`."""
    made = get_completion_class(shell)
    assert made is not None  # click knows these three
    from apigateway.cli.main import main

    click.echo(made(main, {}, "apigateway", "_APIGATEWAY_COMPLETE").source())
