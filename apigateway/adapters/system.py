"""The clock, the randomness and the timers of the machine."""

from __future__ import annotations

import os
import random
import time
from collections.abc import Callable
from typing import Any

from twisted.internet.interfaces import IReactorTime
from zope.interface import implementer

from apigateway.ports.interfaces import ICancellable, IClock, IRandom, ITimers


@implementer(IClock)
class SystemClock:
    """The machine's clocks. The functions themselves are the attributes: nothing stands between."""

    monotonic = staticmethod(time.monotonic)
    wall = staticmethod(time.time)


@implementer(IRandom)
class SystemRandom:
    """`random` is a Mersenne Twister (fast, can be predicted), `token` is the kernel's."""

    random = staticmethod(random.random)
    token = staticmethod(os.urandom)


@implementer(ICancellable)
class ReactorTimer:
    """A delayed call of the reactor that may be called off at any time.

    Where this process was away (something held the loop, or the machine ran others), what came meanwhile waits in the
    kernel, and uvloop calls what is due before it reads. So the loop has a turn behind the time, in which this may be
    called off or its cause moved: nobody is called silent whose octets are there. What is called after 0 seconds waits
    for nobody, and is called at once.
    """

    __slots__ = ("_arguments", "_call", "_callable", "_reactor")

    def __init__(
        self, reactor: IReactorTime, seconds: float, callable: Callable[..., Any], arguments: tuple[Any, ...]
    ) -> None:
        self._reactor, self._callable, self._arguments = reactor, callable, arguments
        self._call: Any = reactor.callLater(seconds, self._due if seconds > 0.0 else self._fire)

    def cancel(self) -> None:
        call = self._call
        if call is not None:
            self._let_go()
            call.cancel()

    def _due(self) -> None:
        """What is called "now" may come before the loop reads; what that calls "now" comes behind it."""
        self._call = self._reactor.callLater(0, self._turn)

    def _turn(self) -> None:
        self._call = self._reactor.callLater(0, self._fire)

    def _fire(self) -> None:
        callable, arguments = self._callable, self._arguments
        self._let_go()
        callable(*arguments)

    def _let_go(self) -> None:
        """The call holds this, which holds who set it."""
        self._call = None
        self._callable, self._arguments = _nothing, ()


@implementer(ITimers)
class ReactorTimers:
    """Timers of a reactor, which give it a turn behind their time (ReactorTimer)."""

    def __init__(self, reactor: IReactorTime) -> None:
        self._reactor = reactor

    def call_later(self, seconds: float, callable: Callable[..., Any], *args: Any) -> ReactorTimer:
        return ReactorTimer(self._reactor, seconds, callable, args)


def _nothing() -> None:
    """Called off, or over."""
