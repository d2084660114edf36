"""Twisted's asyncio reactor on a uvloop loop: `twistd --reactor=uvloop`.

uvloop where it is installed, the interpreter's own loop elsewhere; nothing above needs to know which.
"""

from __future__ import annotations

import asyncio
import sys
from typing import Any, cast

from twisted.internet import asyncioreactor
from twisted.internet.error import ReactorAlreadyInstalledError
from twisted.logger import Logger
from twisted.python.failure import Failure

log = Logger()


def install() -> None:
    """Install the reactor; it becomes `twisted.internet.reactor`.

    Raises ReactorAlreadyInstalledError where there is one, before a loop or a file descriptor is made.
    """
    if "twisted.internet.reactor" in sys.modules:
        raise ReactorAlreadyInstalledError("reactor already installed")
    loop = _new_loop()
    loop.set_exception_handler(report)
    asyncio.set_event_loop(loop)
    asyncioreactor.install(loop)


def _new_loop() -> asyncio.AbstractEventLoop:
    try:
        import uvloop
    except ImportError:
        return asyncio.new_event_loop()
    return uvloop.new_event_loop()


def loop_of(reactor: object) -> asyncio.AbstractEventLoop:
    """The event loop under a reactor, running or not. Raises TypeError for a reactor that has none."""
    loop = getattr(reactor, "_asyncioEventloop", None)
    if loop is None:
        raise TypeError(
            f"native transports need an asyncio reactor (twistd --reactor=uvloop), not {reactor!r}"
        )
    return cast(asyncio.AbstractEventLoop, loop)


def report(loop: asyncio.AbstractEventLoop, what: dict[str, Any]) -> None:
    """Put what a loop reports into Twisted's log.

    A fatal error of a transport is left out: its protocol's connection_lost() is given the same exception,
    and NativeTransport logs it there, which holds on any loop.
    """
    message = what.get("message", "Unhandled error in the event loop")
    error = what.get("exception")
    if error is None:
        log.error("{message}", message=message)
    elif not (message.startswith("Fatal error") and "transport" in what):
        log.failure("{message}", failure=Failure(error), message=message)
