"""The user that the documentation tells to set up may do all that a gateway does, and no more."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any

import pytest
from linking import Linked
from pytest_twisted import ensureDeferred
from redis_server import RedisServer
from toolkit.waiting import until

from apigateway.adapters.redis.store import RedisStore
from apigateway.ports.interfaces import Capacity, Limit, Quota, StoreUnavailable

PAGE = Path(__file__).parents[2] / "docs/state.md"
ALGORITHMS = ("sliding-window", "fixed-window", "token-bucket")


def documented() -> list[str]:
    """The words of the command."""
    found = re.search(r"^ACL SETUSER .*$", PAGE.read_text(), re.MULTILINE)
    assert found is not None
    return found[0].split()


async def everything(one: Linked) -> None:
    """Each operation of the ports, first with scripts that the server does not know."""
    store = RedisStore(one.link, "test")
    for algorithm in ALGORITHMS:
        limits = (Limit("test/api/a/k", 10, 60.0, algorithm), Limit("test/api/a/j", 10, 60.0, algorithm))
        assert (await store.take(limits)).granted  # type: ignore[misc]
        assert (await store.peek(limits)).granted  # type: ignore[misc]
    await store.put("test/api/a/v", b"1", 60.0)
    assert await store.get("test/api/a/v") == b"1"
    assert not await store.add("test/api/a/v", b"2", 60.0)
    assert await store.swap("test/api/a/v", b"1", b"3", 60.0)
    assert await store.swap("test/api/a/v", b"3", None)
    await store.remove("test/api/a/v")
    assert (await store.lease((Capacity("test/api/a/l", 1),), "me", 60.0)).granted  # type: ignore[misc]
    await store.renew(("test/api/a/l",), ("me",), 60.0)  # type: ignore[misc]
    await store.release(("test/api/a/l",), "me")  # type: ignore[misc]
    quota = Quota("test/api/a/q", 5, (0.0, 1e12))
    assert (await store.consume((quota,))).granted  # type: ignore[misc]
    assert [usage.used for usage in await store.usage((quota,))] == [1]  # type: ignore[misc]
    assert [usage.used for usage in await store.used_by("test/api/a/", 10)] == [1]
    assert await store.reset("test/api/a/q")


@ensureDeferred
async def test_it_may_do_what_is_needed(linked: Any) -> None:
    with RedisServer() as server:
        words = documented()
        server.command(*words)
        name, password = words[2], words[4].removeprefix(">")
        one = await linked({"url": server.url.replace("//", f"//{name}@"), "password": password, "timeout": "1s"})
        assert one.link.connected, one.link.why
        assert f"name=apigateway:test user={name}" in re.sub(
            r" (?!name=|user=)\S+", "", server.command("CLIENT", "LIST").decode()
        )
        await everything(one)
        heard: list[bytes] = []
        one.remote.notices.hear("keys", heard.append)
        await until(lambda: heard == [b""], one.lines)
        for arguments in ((b"FLUSHALL",), (b"CONFIG", b"GET", b"*"), (b"KEYS", b"*"), (b"GET", b"other")):
            with pytest.raises(StoreUnavailable, match="NOPERM"):
                await one.link.call(*arguments)
            await one.link.call(b"PING")
