"""News among workers, over a real server."""

from __future__ import annotations

from typing import Any

import pytest
from fault_proxy import FaultProxy
from linking import Linked
from pytest_twisted import ensureDeferred
from redis_server import RedisServer
from toolkit.waiting import steady, turn, until


def heard_by(one: Linked, topic: str = "keys") -> list[bytes]:
    heard: list[bytes] = []
    one.remote.notices.hear(topic, heard.append)
    return heard


@pytest.fixture
def server() -> Any:
    with RedisServer() as made:
        yield made


@ensureDeferred
async def test_all_hear_it_once_the_teller_among_them(linked: Any, redis: RedisServer) -> None:
    first, second = await linked(redis.unix_url), await linked(redis.url)
    other = await linked(redis.url, environment="other")
    one, two, three = heard_by(first), heard_by(second), heard_by(other)
    unrelated = heard_by(second, "tokens")
    await until(lambda: one == two == three == unrelated == [b""], "what may have been missed")
    first.remote.notices.tell("keys", b"k1")
    assert one == [b"", b"k1"]
    await until(lambda: two == [b"", b"k1"])
    second.remote.notices.tell("keys", b"")
    await until(lambda: one == [b"", b"k1", b""])
    await steady(lambda: len(two) == 3 and unrelated == three == [b""], 0.1)


@ensureDeferred
async def test_who_ends_hears_no_more(linked: Any, redis: RedisServer) -> None:
    one = await linked(redis.unix_url)
    heard: list[bytes] = []
    stop = one.remote.notices.hear("keys", heard.append)
    again = heard_by(one)
    await until(lambda: heard and again)
    stop()
    stop()
    one.remote.notices.tell("keys", b"x")
    assert heard[-1] == b""
    assert again[-1] == b"x"
    assert b"apigateway:test:keys" in redis.command("PUBSUB", "CHANNELS")


@pytest.mark.parametrize("how", ["killed", "frozen"])
@ensureDeferred
async def test_after_a_loss_something_may_have_been_missed(linked: Any, server: RedisServer, how: str) -> None:
    one, two = await linked(server.url), await linked(server.url)
    heard = heard_by(one)
    await until(lambda: heard == [b""])
    if how == "killed":
        server.kill()
    else:
        server.freeze()
    await one.without() if how == "killed" else await turn(0.1)
    two.remote.notices.tell("keys", b"lost")
    one.remote.notices.tell("keys", b"own")
    assert heard[-1] == b"own"
    if how == "killed":
        server.start()
    else:
        await until(lambda: one.remote.notices._connection is None, within=10.0)
        server.thaw()
    await until(lambda: heard[-1] == b"", within=5.0)
    await two.connected()
    two.remote.notices.tell("keys", b"news")
    await until(lambda: heard[-1] == b"news")


@pytest.mark.parametrize("how", ["cut off", "late"])
@ensureDeferred
async def test_what_one_could_not_tell_others_hear_of_when_it_can(linked: Any, redis: RedisServer, how: str) -> None:
    """Only who tells is cut off; who hears is not, and would know of nothing."""
    proxy = FaultProxy(redis.address, scheme="redis")
    try:
        teller, hearer = await linked({"url": proxy.url}), await linked(redis.url)
        heard, other = heard_by(hearer), heard_by(hearer, "tokens")
        await until(lambda: heard == other == [b""])
        await teller.connected()
        if how == "cut off":
            proxy.accept("reset")
            proxy.reset()
            await teller.without()
        else:
            proxy.up.hole = True
        teller.remote.notices.tell("keys", b"lost")
        await until(lambda: how == "cut off" or teller.link.counts.late + teller.link.counts.lost > 0)
        proxy.up.hole = False
        proxy.accept("pass")
        if how == "late":
            proxy.reset()  # what is in the hole is lost
        await until(lambda: heard == [b"", b""], within=10.0)
        assert other == [b""]
    finally:
        await proxy.close()


@ensureDeferred
async def test_who_hears_and_fails_harms_nobody(linked: Any, redis: RedisServer, failures: list[Any]) -> None:
    one = await linked(redis.unix_url)

    def fail(body: bytes) -> None:
        raise RuntimeError("a hearer")

    one.remote.notices.hear("keys", fail)
    heard = heard_by(one)
    await until(lambda: heard == [b""])
    one.remote.notices.tell("keys", b"x")
    assert heard == [b"", b"x"]
    assert one.link.connected
    assert {str(failure) for failure in failures} == {"a hearer"}


@ensureDeferred
async def test_a_user_that_may_not_subscribe_is_told_of(linked: Any) -> None:
    with RedisServer("--user", "default", "on", "nopass", "~*", "resetchannels", "+@all") as server:
        one = await linked(server.url)
        heard_by(one)
        await until(lambda: "news from other workers cannot be heard" in one.lines())
        assert one.link.connected
        one.remote.notices.tell("keys", b"x")
