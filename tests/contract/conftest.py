"""A store of every kind, for each test."""

from __future__ import annotations

from typing import Any

import pytest
import pytest_twisted
from redis_server import redis, redis_server
from subjects import STORES, in_memory, in_redis, link_to

__all__ = ["redis", "redis_server"]


@pytest_twisted.async_yield_fixture(params=STORES)
async def subject(request: pytest.FixtureRequest) -> Any:
    if request.param == "memory":
        yield in_memory()
        return
    server = request.getfixturevalue("redis")
    linked = await link_to(server)
    yield in_redis(linked, server)
    linked.remote.close()
