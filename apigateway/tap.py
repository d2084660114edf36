"""`twistd apigateway`: the service and its options."""

from __future__ import annotations

import sys
from collections.abc import Callable
from typing import Any, ClassVar

from twisted.application.service import IService
from twisted.internet.error import ReactorAlreadyInstalledError
from twisted.python import usage

from apigateway.errors import ConfigurationRefused, Problem
from apigateway.transport import reactor as native_reactor


class Options(usage.Options):
    """What `twistd apigateway` is told on its command line."""

    synopsis = "[options] --config FILE"
    longdesc = "An API gateway. `apigateway check FILE` tells what is wrong with a file before it is served."

    optParameters: ClassVar[list[list[Any]]] = [["config", "c", None, "The configuration to serve, YAML or JSON."]]
    optFlags: ClassVar[list[list[str | None]]] = [
        ["last-good", None, "Serve the last good revision where the file is broken."]
    ]
    compData = usage.Completions(optActions={"config": usage.CompleteFiles("*.yaml")})

    def postOptions(self) -> None:
        """Insist on a file."""
        if self["config"] is None:
            raise usage.UsageError("which configuration? give --config FILE")


def makeService(options: Options) -> IService:
    """The gateway as a service; for a broken file every problem on standard error, and SystemExit(1).

    Installs the reactor that the native transports need, unless `twistd --reactor` has chosen one.
    """
    # Nothing before this has asked for the reactor, which is what would have installed Twisted's default one.
    try:
        native_reactor.install()
    except ReactorAlreadyInstalledError:
        pass
    from twisted.internet import reactor

    # Imported here, since something below might come to import the reactor for its own module's sake.
    from apigateway.assembly import make_service

    try:
        native_reactor.loop_of(reactor)
        return make_service(reactor, options["config"], last_good=bool(options["last-good"]))
    except TypeError as error:
        return _refuse([str(error)])
    except ConfigurationRefused as refused:
        return _refuse([_line(problem) for problem in refused.problems])


def _line(problem: Problem) -> str:
    return f"warning: {problem}" if problem.warning else str(problem)


def _refuse(lines: list[str], write: Callable[[str], object] = sys.stderr.write) -> IService:
    write("".join(f"{line}\n" for line in lines))
    raise SystemExit(1)
