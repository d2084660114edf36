"""Waiting for what has to come, and no longer than a test may."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from typing import Any, TypeVar

from twisted.internet import reactor as installed
from twisted.internet.defer import Deferred
from twisted.internet.task import deferLater

T = TypeVar("T")
reactor: Any = installed
PATIENCE = 5.0
_LOOK_EVERY = 0.002


def event_loop() -> asyncio.AbstractEventLoop:
    """The loop under the reactor."""
    loop: asyncio.AbstractEventLoop = reactor._asyncioEventloop
    return loop


def on_loop(work: Any) -> Deferred[Any]:
    """A coroutine of asyncio's, as a Deferred."""
    return Deferred.fromFuture(event_loop().create_task(work))


def turn(seconds: float = 0.0) -> Deferred[None]:
    """Give the others a turn."""
    return deferLater(reactor, seconds, lambda: None)


async def until(
    condition: Callable[[], T], what: str | Callable[[], object] = "", *, within: float = PATIENCE
) -> T:
    """Wait for a condition, and return what it said; an AssertionError with `what` after so many seconds."""
    end = reactor.seconds() + within
    while True:
        said = condition()
        if said:
            return said
        if reactor.seconds() > end:
            raise AssertionError(f"not within {within:g} s: {what() if callable(what) else what}")
        await turn(_LOOK_EVERY)


async def steady(condition: Callable[[], object], seconds: float, what: str = "") -> None:
    """A condition holds all the while."""
    end = reactor.seconds() + seconds
    while reactor.seconds() < end:
        assert condition(), f"not for {seconds:g} s: {what}"
        await turn(_LOOK_EVERY)


def together(*work: Awaitable[Any]) -> Deferred[list[Any]]:
    """Run side by side; the results in order, or the first failure."""
    from twisted.internet.defer import gatherResults

    async def run(one: Awaitable[T]) -> T:
        return await one

    running = [Deferred.fromCoroutine(run(one)) for one in work]
    gathered: Deferred[list[Any]] = gatherResults(running, consumeErrors=True)
    return gathered
