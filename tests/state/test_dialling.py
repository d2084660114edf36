"""How a connection comes about: by names of several addresses, in time, and only with a server that can do it all."""

from __future__ import annotations

from typing import Any

import pytest
from linking import Linked
from pytest_twisted import ensureDeferred
from redis_server import RedisServer
from resp_server import RespServer, always, to
from toolkit.waiting import reactor, turn, until
from twisted.internet.defer import Deferred
from twisted.internet.task import deferLater

from apigateway.ports.interfaces import Resolution

NAME = "redis.example.test"


class Names:
    """A resolver that knows one answer, `after` so many seconds, or none. asked: the names."""

    def __init__(self, *addresses: str, after: float = 0.0) -> None:
        self.addresses = addresses
        self.after = after
        self.asked: list[str] = []

    def resolve(self, name: str) -> Deferred[Resolution]:
        self.asked.append(name)
        found = Resolution(self.addresses, 60.0)
        return deferLater(reactor, self.after, lambda: found) if self.addresses else Deferred()


@ensureDeferred
async def test_a_name_is_waited_for_while_another_name_server_is_asked(linked: Any, redis: RedisServer) -> None:
    """Longer than for a connection: the first name server of several has 1.5 s."""
    names = Names("127.0.0.1", after=1.5)
    one = await linked(redis.url.replace("127.0.0.1", NAME), resolver=names)
    assert one.link.connected, one.link.why


@pytest.mark.parametrize("addresses", [("127.0.0.1", "127.0.0.2"), ("127.0.0.2", "127.0.0.1")])
@ensureDeferred
async def test_where_nobody_listens_at_one_address_another_one_is_tried_at_once(
    linked: Any, redis: RedisServer, addresses: tuple[str, ...]
) -> None:
    names = Names(*addresses)
    one = await linked(redis.url.replace("127.0.0.1", NAME), resolver=names)
    assert one.link.connected, one.link.why
    assert names.asked == [NAME]


@ensureDeferred
async def test_an_address_that_is_silent_is_asked_first_no_more(linked: Any, fake: RespServer) -> None:
    fake.answer = always(None)
    one = await linked(fake.url.replace("127.0.0.1", NAME), resolver=Names("127.0.0.1", "127.0.0.2"))
    assert not one.link.connected
    with RedisServer("--bind", "127.0.0.2") as other:
        other.stop()
        other.port = fake.port
        other.start()
        await one.connected()


@ensureDeferred
async def test_who_closes_while_names_are_looked_up_asks_for_no_more() -> None:
    names = Names()
    one = Linked("redis+sentinel://a.example.test,b.example.test,c.example.test/limits", resolver=names)
    started = one.link.start()
    await until(lambda: names.asked)
    one.remote.close()
    await started
    await turn()
    assert names.asked == ["a.example.test"]


@ensureDeferred
async def test_the_search_for_the_primary_has_an_end(linked: Any) -> None:
    names = Names()
    began = reactor.seconds()
    hosts = ",".join(f"s{number}.example.test" for number in range(12))
    one = await linked(f"redis+sentinel://{hosts}/limits", resolver=names)
    assert reactor.seconds() - began < 8.0  # and not two seconds for each of them
    assert "no answer within 5 s" in one.link.why


@ensureDeferred
async def test_sentinels_that_were_resolved_once_are_found_while_no_name_server_answers(
    linked: Any, fake: RespServer
) -> None:
    """The fake is Sentinel and primary."""
    place = b"*2\r\n$9\r\n127.0.0.1\r\n$%d\r\n%d\r\n" % (len(str(fake.port)), fake.port)
    fake.answer = to({b"SENTINEL": place, b"ROLE": b"*3\r\n$6\r\nmaster\r\n:0\r\n*0\r\n"})
    names = Names("127.0.0.1")
    one = await linked(f"redis+sentinel://{NAME}:{fake.port}/limits", resolver=names)
    assert one.link.connected, one.link.why
    names.addresses = ()
    fake.drop()
    await one.without()
    await one.connected()
    assert len(names.asked) > 1


@ensureDeferred
async def test_a_server_that_runs_no_scripts_is_none(linked: Any) -> None:
    """Else every request would be a defect, and none decided as on_store_failure says."""
    with RedisServer("--rename-command", "EVALSHA", "", "--rename-command", "EVAL", "") as server:
        one = await linked(server.url)
        assert not one.link.connected
        assert "unknown command" in one.link.why


@ensureDeferred
async def test_a_user_that_may_run_no_scripts_is_told_of(linked: Any) -> None:
    with RedisServer("--user", "default", "on", "nopass", "~*", "&*", "+@all", "-@scripting") as server:
        one = await linked(server.url)
        assert not one.link.connected
        assert "NOPERM" in one.link.why


@ensureDeferred
async def test_attempts_are_no_commands_that_were_decided_without_it(linked: Any, fake: RespServer) -> None:
    one = await linked({"url": fake.url})
    fake.answer = always(None)
    fake.drop()
    await one.without()
    attempts = fake.accepted
    await until(lambda: fake.accepted >= attempts + 3)
    fake.answer = to({})
    await one.connected()
    assert one.lines()[-1] == "the shared state answers again"
    assert one.events.events[-1][2]["decided_without"] == 0
    assert one.link.counts.failed == 0
