"""What is done again and again, and goes on where it fails once."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from twisted.internet.defer import Deferred, maybeDeferred
from twisted.internet.task import LoopingCall
from twisted.logger import Logger

log = Logger()


def repeating(call: Callable[[], Any]) -> LoopingCall:
    """A LoopingCall, which is not over when its call fails: that is logged. call: may return something to wait for."""

    def once() -> Deferred[Any]:
        return maybeDeferred(call).addErrback(
            lambda failure: log.failure("what is done again and again failed", failure)
        )

    return LoopingCall(once)
