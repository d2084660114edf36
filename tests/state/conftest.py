"""Fixtures of the tests of shared state: real servers, and links to them."""

from __future__ import annotations

from typing import Any

import pytest_twisted
from linking import Linked
from redis_server import redis, redis_server
from resp_server import RespServer
from toolkit.fixtures import authority, quick_collections

__all__ = ["authority", "quick_collections", "redis", "redis_server"]


@pytest_twisted.async_yield_fixture
async def linked() -> Any:
    """Makes links, and begins to connect: `await linked(url)`. A url alone gets a timeout that no busy machine uses up;
    settings are taken as they are."""
    made: list[Linked] = []

    async def make(state: Any, **more: Any) -> Linked:
        settings = {"url": state, "timeout": "1s"} if isinstance(state, str) else state
        made.append(Linked(settings, **more))
        return await made[-1].start()

    yield make
    for one in made:
        one.remote.close()


@pytest_twisted.async_yield_fixture
async def fake() -> Any:
    """A server that answers as it is told."""
    server = RespServer()
    await server.start()
    yield server
    await server.close()
