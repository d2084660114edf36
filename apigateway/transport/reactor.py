"""Twisted's asyncio reactor on a uvloop loop: `twistd --reactor=uvloop`.

uvloop where it is installed, the interpreter's own loop elsewhere; nothing above needs to know which.
"""

from __future__ import annotations

import asyncio
import sys
import time
from collections.abc import Callable
from typing import Any, cast

from twisted.internet import asyncioreactor
from twisted.internet.error import ReactorAlreadyInstalledError
from twisted.logger import Logger
from twisted.python.failure import Failure

from apigateway.transport.heap import keep_large_blocks_apart

log = Logger()

SHORTAGE_TOLD_EVERY = 10.0
_shortage_told = -SHORTAGE_TOLD_EVERY


def install() -> None:
    """Install the reactor; it becomes `twisted.internet.reactor`.

    Raises ReactorAlreadyInstalledError where there is one, before a loop or a file descriptor is made.
    """
    if "twisted.internet.reactor" in sys.modules:
        raise ReactorAlreadyInstalledError("reactor already installed")
    keep_large_blocks_apart()
    loop = _new_loop()
    loop.set_exception_handler(report)
    asyncio.set_event_loop(loop)
    asyncioreactor.install(loop)
    run_by_monotonic_clock(sys.modules["twisted.internet.reactor"])


def run_by_monotonic_clock(reactor: Any) -> None:
    """Have a reactor tell its timers by the clock that nobody sets. To be called before it has any.

    Twisted's look at the wall clock: where that is put back by an hour, no timer fires for an hour, and where it is
    put forward, all fire at once.
    """
    reactor.seconds = time.monotonic


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


def call_in_loop(reactor: Any, callable: Callable[..., Any], *arguments: Any) -> None:
    """Call once the loop runs; nothing where it never does.

    Twisted's callWhenRunning calls before that, and whoever listens to signals then hears of one that comes before the
    loop runs only with the next one: uvloop has not told the interpreter yet where to wake it.
    """
    reactor.callWhenRunning(reactor.callLater, 0, callable, *arguments)


def report(loop: asyncio.AbstractEventLoop, what: dict[str, Any]) -> None:
    """Put what a loop reports into Twisted's log.

    A fatal error of a transport is left out: its protocol's connection_lost() is given the same exception,
    and NativeTransport logs it there, which holds on any loop. That nothing can be accepted for want of descriptors or
    memory is told once in ten seconds: asyncio says it a thousand times a second (once for each place in the backlog).
    """
    message = what.get("message", "Unhandled error in the event loop")
    error = what.get("exception")
    if isinstance(error, OSError) and message.startswith("socket.accept()"):
        _tell_of_shortage(error)
        return
    if error is None:
        log.error("{message}", message=message)
    elif not (message.startswith("Fatal error") and "transport" in what):
        log.failure("{message}", failure=Failure(error), message=message)


def _tell_of_shortage(error: OSError) -> None:
    global _shortage_told
    now = time.monotonic()
    if now >= _shortage_told + SHORTAGE_TOLD_EVERY:
        _shortage_told = now
        log.error("no connection can be accepted: {error}", error=error.strerror)
