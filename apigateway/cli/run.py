"""`apigateway run`: the service of `twistd apigateway`, in the foreground."""

from __future__ import annotations

import sys
from typing import Any

import click
from twisted.application.service import ServiceMaker
from twisted.logger import FileLogObserver, textFileLogObserver
from twisted.scripts import twistd

NAME = "apigateway"


class _Options(twistd.ServerOptions):
    """twistd's, with the gateway for its only service: found without the folder of plugins."""

    loadedPlugins = {NAME: ServiceMaker("API gateway", "apigateway.tap", "", NAME)}  # noqa: RUF012

    @property
    def subCommands(self) -> Any:
        return [(NAME, None, self.loadedPlugins[NAME].options, "")]


def to_standard_error() -> FileLogObserver:
    """Twisted's log on standard error, so that standard output is the access log's alone."""
    return textFileLogObserver(sys.stderr)


@click.command()
@click.argument("file", type=click.Path())
@click.option("--last-good", is_flag=True, help="Serve the last good revision where the file is broken.")
@click.option("--pidfile", default="", type=click.Path(), help="Where to write the process id; nowhere, unless named.")
def run(file: str, last_good: bool, pidfile: str) -> None:
    """Serve a configuration in the foreground, as `twistd -n apigateway --config FILE` does.

    Logs to standard error. HUP reloads the file and reopens logs, TERM drains, a second TERM ends.
    """
    options = _Options()
    arguments = ["--nodaemon", f"--pidfile={pidfile}", "--logger=apigateway.cli.run.to_standard_error"]
    options.parseOptions([*arguments, NAME, "--config", file, *(["--last-good"] if last_good else [])])
    twistd.runApp(options)
