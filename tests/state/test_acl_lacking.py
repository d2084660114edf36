"""A user that may not do all that is needed: nothing is decided by what could not be read, and nothing is a defect."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest
from pytest_twisted import ensureDeferred
from redis_server import RedisServer

from apigateway.adapters.redis.store import RedisStore
from apigateway.ports.interfaces import Capacity, Limit, Quota, StoreUnavailable

KEY = "test/api/a/step/x"
CAPACITY, QUOTA = Capacity(KEY, 2), Quota(KEY, 2, (0.0, 1e12))
OPERATIONS: dict[str, tuple[str, Callable[[Any], Any]]] = {
    "sliding-window": ("lindex", lambda store: store.take([Limit(KEY, 3, 60.0)])),
    "fixed-window": ("get", lambda store: store.take([Limit(KEY, 3, 60.0, "fixed-window")])),
    "token-bucket": ("get", lambda store: store.peek([Limit(KEY, 3, 60.0, "token-bucket")])),
    "lease": ("zremrangebyscore", lambda store: store.lease([CAPACITY], "me", 60.0)),
    "renew": ("zscore", lambda store: store.renew([KEY], ["me"], 60.0)),
    "release": ("zrem", lambda store: store.release([KEY], "me")),
    "consume": ("hget", lambda store: store.consume([QUOTA])),
    "swap": ("get", lambda store: store.swap(KEY, None, b"x", 60.0)),
    "add": ("type", lambda store: store.add(KEY, b"x", 60.0)),
}


@pytest.mark.parametrize("name", OPERATIONS)
@ensureDeferred
async def test_what_may_not_be_read_is_not_taken_for_nothing(linked: Any, name: str) -> None:
    lacking, operation = OPERATIONS[name]
    with RedisServer() as server:
        store = RedisStore((await linked(server.unix_url)).link, "test")
        assert await store.add(KEY, b"old", 60.0)
        await operation(store)
        keys = {key: server.command("DUMP", key) for key in server.command("KEYS", "*") if b"probe" not in key}
        server.command("ACL", "SETUSER", "default", f"-{lacking}")
        for _ in range(2):
            with pytest.raises(StoreUnavailable):
                await operation(store)
        assert {key: server.command("DUMP", key) for key in keys} == keys
