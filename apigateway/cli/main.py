"""The command `apigateway` and its commands."""

from __future__ import annotations

from importlib import import_module

import click

from apigateway import __version__

# Command to the module of this package that holds it; the function has the command's name. Loaded when
# asked for, so that none waits for what another needs (and `run` may still choose the reactor).
COMMANDS = {
    "run": "run",
    "check": "check",
    "plan": "plan",
    "explain": "explain",
    "schema": "schema",
    "docs": "docs",
    "new-policy": "new_policy",
    "test-policy": "test_policy",
    "hash-key": "hashing",
    "hash-password": "hashing",
    "dev-certs": "dev_certs",
    "demo": "demo",
    "completion": "completion",
}


class Commands(click.Group):
    """Loads a command when it is asked for, and lists them in the order above."""

    def list_commands(self, ctx: click.Context) -> list[str]:
        """The names."""
        return list(COMMANDS)

    def get_command(self, ctx: click.Context, cmd_name: str) -> click.Command | None:
        """The command of a name, or None."""
        if cmd_name not in COMMANDS:
            return None
        module = import_module(f"apigateway.cli.{COMMANDS[cmd_name]}")
        command: click.Command = getattr(module, cmd_name.replace("-", "_"))
        return command


@click.command(cls=Commands, context_settings={"help_option_names": ["-h", "--help"], "max_content_width": 110})
@click.version_option(__version__, prog_name="apigateway")
def main() -> None:
    """An API gateway: serve a configuration, or find out what it does.

    Exit status: 0 fine; 1 the file (or policy, or page) has errors; 2 the command line has; 3 there is no
    such Api, route or kind.
    """
