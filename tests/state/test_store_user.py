"""What a user of the server has to be allowed, as docs/state.md says it."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any

from pytest_twisted import ensureDeferred
from redis_server import RedisServer

from apigateway.adapters.redis.store import RedisStore
from apigateway.ports.interfaces import Capacity, Limit, Quota

DOCS = Path(__file__).parent.parent.parent / "docs"
KEY = "test/api/a/step/x"


@ensureDeferred
async def test_the_store_does_all_with_the_rights_that_the_docs_give(linked: Any) -> None:
    command = re.search(r"^ACL SETUSER gateway .*$", (DOCS / "state.md").read_text(), re.MULTILINE)
    assert command
    with RedisServer() as server:
        server.command(*command[0].split())
        server.command("ACL", "LOG", "RESET")
        url = server.url.replace("redis://", "redis://gateway:password@")
        one = await linked({"url": url, "timeout": "10s"})
        store: Any = RedisStore(one.link, "test")
        for algorithm in ("sliding-window", "fixed-window", "token-bucket"):
            limit = Limit(KEY, 2, 0.05, algorithm)
            for _ in range(300):
                assert len((await store.take([limit])).standings) == 1
            await store.peek([limit])
        assert await store.add(KEY, b"1", 60.0)
        assert await store.swap(KEY, b"1", b"2", 60.0)
        assert await store.swap(KEY, b"2", None)
        await store.put(KEY, b"3", 60.0)
        assert await store.get(KEY) == b"3"
        await store.remove(KEY)
        assert (await store.lease([Capacity(KEY, 1)], "one", 60.0)).granted
        assert not (await store.lease([Capacity(KEY, 1)], "two", 60.0)).granted
        await store.renew([KEY], ["one"], 60.0)
        await store.release([KEY], "one")
        assert (await store.consume([Quota(KEY, 2)])).granted
        assert [usage.used for usage in await store.usage([Quota(KEY, 2)])] == [1]
        assert [usage.key for usage in await store.used_by("test/api/a/step/", 9)] == [KEY]
        assert await store.reset(KEY)
        assert server.command("ACL", "LOG") == []
