"""The clock, the randomness and the timers of the machine."""

from __future__ import annotations

import os
import random
import time
from collections.abc import Callable
from typing import Any

from twisted.internet.interfaces import IDelayedCall, IReactorTime
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
    """A delayed call of the reactor that may be called off at any time."""

    __slots__ = ("_call",)

    def __init__(self, call: IDelayedCall) -> None:
        self._call = call

    def cancel(self) -> None:
        if self._call.active():
            self._call.cancel()


@implementer(ITimers)
class ReactorTimers:
    """Timers of a reactor."""

    def __init__(self, reactor: IReactorTime) -> None:
        self._call_later = reactor.callLater

    def call_later(self, seconds: float, callable: Callable[..., Any], *args: Any) -> ReactorTimer:
        return ReactorTimer(self._call_later(seconds, callable, *args))
