"""`twistd apigateway`: the service and its options."""

from __future__ import annotations

import atexit
import os
import sys
from contextlib import suppress
from typing import TYPE_CHECKING, Any, ClassVar, NoReturn

from twisted.application.service import IService
from twisted.internet.error import ReactorAlreadyInstalledError
from twisted.python import usage

from apigateway.errors import ConfigurationRefused
from apigateway.transport import reactor as native_reactor

if TYPE_CHECKING:
    from apigateway.program import ProgramService


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
    """The gateway as a service; for a broken file, every problem on standard error and SystemExit(1).

    Installs the reactor that the native transports need, unless `twistd --reactor` has chosen one.
    """
    # Nothing before this has asked for the reactor, which would have installed Twisted's own choice.
    with suppress(ReactorAlreadyInstalledError):
        native_reactor.install()
    # Both only now: whatever they import may ask for it.
    from twisted.internet import reactor

    from apigateway.supervisor.starting import make_service
    from apigateway.transport.inherited import Inherited, InheritedRefused

    try:
        native_reactor.loop_of(reactor)
    except TypeError as error:
        _refuse(str(error))
    native_reactor.run_by_monotonic_clock(reactor)  # twistd may have installed asyncio's own
    try:
        inherited = Inherited.from_environment(os.environ)
    except InheritedRefused as refusal:
        _refuse(str(refusal))
    try:
        service = make_service(
            reactor, options["config"], last_good=bool(options["last-good"]), inherited=inherited,
            twistd_options=options.parent,
        )
    except ConfigurationRefused as refused:
        lines = [f"warning: {each}" if each.warning else str(each) for each in refused.problems]
        inherited.failed("\n".join(lines))
        _refuse(*lines)
    atexit.register(_end_with_status, service)
    return service


def _end_with_status(service: ProgramService) -> None:
    """twistd ends with 0 however its service fared: the last word of the process says it for a start that failed."""
    if service.failed:
        sys.stdout.flush()
        sys.stderr.flush()
        os._exit(service.failed)


def _refuse(*lines: str) -> NoReturn:
    sys.stderr.writelines(f"{line}\n" for line in lines)
    raise SystemExit(1)
