"""What a hook may return instead of an outcome, and how it is waited for."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Generator
from concurrent.futures import Future
from typing import Any

import pytest
from pytest_twisted import ensureDeferred
from twisted.internet.defer import Deferred, succeed

from apigateway.flow.outcome import Reply
from apigateway.flow.steps import as_deferred

REPLY = Reply(204)


class Waits:
    """An awaitable that is neither coroutine nor Future."""

    def __await__(self) -> Generator[Any, None, Reply]:
        yield from ()
        return REPLY


async def coroutine() -> Reply:
    return REPLY


def future() -> asyncio.Future[Reply]:
    loop = asyncio.get_event_loop()
    made: asyncio.Future[Reply] = loop.create_future()
    loop.call_soon(made.set_result, REPLY)
    return made


def task() -> asyncio.Task[Reply]:
    return asyncio.get_event_loop().create_task(coroutine())


@pytest.mark.parametrize("returned", [future, task, coroutine, Waits, lambda: succeed(REPLY)])
@ensureDeferred
async def test_whatever_can_be_awaited_becomes_a_deferred(returned: Callable[[], Any]) -> None:
    waiting = as_deferred(returned())
    assert isinstance(waiting, Deferred)
    assert await waiting is REPLY


@ensureDeferred
async def test_the_error_of_a_future_is_the_error_of_the_deferred() -> None:
    failing: asyncio.Future[Reply] = asyncio.get_event_loop().create_future()
    waiting: Deferred[Any] = as_deferred(failing)
    failing.set_exception(ValueError("no"))
    with pytest.raises(ValueError, match="no"):
        await waiting


@ensureDeferred
async def test_a_cancelled_deferred_cancels_its_future() -> None:
    pending: asyncio.Future[Reply] = asyncio.get_event_loop().create_future()
    waiting = as_deferred(pending)
    waiting.addErrback(lambda _: None)
    waiting.cancel()
    assert pending.cancelled()
    await waiting


@pytest.mark.parametrize("returned", [7, b"", Future()], ids=["number", "octets", "future of a thread"])
def test_what_can_never_become_an_outcome_is_refused(returned: Any) -> None:
    with pytest.raises(TypeError, match="neither None, a Reply nor an awaitable"):
        as_deferred(returned)
