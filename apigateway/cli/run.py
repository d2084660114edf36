"""`apigateway run`: the service of `twistd apigateway`, in the foreground."""

from __future__ import annotations

import sys
from typing import Any

import click
from twisted.application.service import IService
from twisted.internet.error import CannotListenError
from twisted.logger import FileLogObserver, textFileLogObserver
from twisted.scripts import twistd

from apigateway import tap

NAME = "apigateway"


class Maker:
    """Makes the service for twistd, and keeps it, so that its exit status can be asked for."""

    tapname = NAME

    def __init__(self) -> None:
        self.service: Any = None

    def makeService(self, options: tap.Options) -> IService:
        """See tap.makeService."""
        self.service = tap.makeService(options)
        return self.service  # type: ignore[no-any-return]


class Options(twistd.ServerOptions):  # type: ignore[name-defined, misc]
    """twistd's, with the gateway as its only service: found without looking for plugins."""

    def __init__(self, maker: Maker) -> None:
        super().__init__()
        self.loadedPlugins = {NAME: maker}

    @property
    def subCommands(self) -> list[tuple[str, None, type[tap.Options], str]]:
        """The service, as usage.Options wants it."""
        return [(NAME, None, tap.Options, "")]


def to_standard_error() -> FileLogObserver:
    """Twisted's log on standard error, so that standard output is left to the gateway's own logs."""
    return textFileLogObserver(sys.stderr)


@click.command()
@click.argument("file", type=click.Path())
@click.option("--last-good", is_flag=True, help="Serve the last good revision where the file is broken.")
@click.option("--pidfile", default="", type=click.Path(), help="Where to write the process id; nowhere, unless named.")
def run(file: str, last_good: bool, pidfile: str) -> None:
    """Serve a configuration in the foreground, as `twistd -n apigateway --config FILE` does.

    Logs to standard error. HUP reloads the file and reopens logs, USR2 replaces the program, TERM drains, a second
    TERM ends. Exit status: 0 after TERM, 1 for a file with errors (all are printed) or an address that is taken.
    """
    maker = Maker()
    options = Options(maker)
    arguments = ["--nodaemon", f"--pidfile={pidfile}", "--logger=apigateway.cli.run.to_standard_error"]
    options.parseOptions([*arguments, NAME, "--config", file, *(["--last-good"] if last_good else [])])
    try:
        twistd.runApp(options)
    except CannotListenError as error:
        place = f"{error.interface}:{error.port}" if error.interface else error.port
        raise click.ClickException(f"cannot listen at {place}: {error.socketError.strerror}") from error
    raise SystemExit(maker.service.failed)
