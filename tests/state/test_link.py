"""The link to a server that is well."""

from __future__ import annotations

from typing import Any

import pytest
from linking import COUNT
from pytest_twisted import ensureDeferred
from redis_server import RedisServer
from resp_server import RespServer, to
from toolkit.waiting import together, turn, until

from apigateway.adapters.redis.replies import StoreError, code_of, exception_of
from apigateway.adapters.redis.scripts import Script
from apigateway.ports.interfaces import StoreUnavailable

KEY = b"apigateway:test:{k}:n"


@ensureDeferred
async def test_commands_are_answered_each_with_its_own(linked: Any, redis: RedisServer) -> None:
    link = (await linked(redis.unix_url)).link
    answers = await together(*(link.call(b"ECHO", b"%d" % number) for number in range(100)))
    assert answers == [b"%d" % number for number in range(100)]


@ensureDeferred
async def test_a_script_that_the_server_does_not_know_is_run_once(linked: Any, redis: RedisServer) -> None:
    one = await linked(redis.unix_url)
    redis.command("SCRIPT", "FLUSH")
    counted = await together(*(one.link.run(COUNT, [KEY], []) for _ in range(20)))
    assert sorted(counted) == list(range(1, 21))
    assert (await one.decide())[0] == 21
    redis.command("SCRIPT", "FLUSH")
    assert (await one.decide())[0] == 22
    assert redis.command("GET", KEY) == b"22"


@ensureDeferred
async def test_a_text_is_sent_once_only_where_the_server_forgets_at_once(linked: Any, fake: RespServer) -> None:
    one = await linked(fake.url)
    unknown = b"-NOSCRIPT No matching script.\r\n"
    fake.answer = to({b"EVALSHA": unknown, b"EVAL": unknown})
    with pytest.raises(StoreError):
        await one.link.run(COUNT, [KEY], [])
    assert fake.names().count(b"EVAL") == 1


@ensureDeferred
async def test_an_error_of_a_script_is_the_caller_s_and_opens_nothing(linked: Any, redis: RedisServer) -> None:
    one = await linked(redis.unix_url)
    redis.command("LPUSH", KEY, "x")
    for _ in range(5):
        with pytest.raises(StoreError, match="WRONGTYPE"):
            await one.link.run(COUNT, [KEY], [])
        with pytest.raises(StoreError):
            await one.link.run(Script("wrong", b"return nonsense("), [KEY], [])
    assert one.link.connected
    assert one.link.counts.errors == 10


@ensureDeferred
async def test_commands_of_one_turn_are_written_together(linked: Any, fake: RespServer) -> None:
    one = await linked(fake.url)
    read: list[int] = []
    before = len(fake.commands)
    fake.answer = lambda command: read.append(len(fake.commands)) or b":1\r\n"  # type: ignore[func-returns-value]
    await together(*(one.link.run(COUNT, [KEY], []) for _ in range(32)))
    assert len(fake.commands) - before == 32
    assert read == list(range(before + 1, before + 33))


@ensureDeferred
async def test_user_password_database_and_name(linked: Any) -> None:
    with RedisServer("--user", "default", "off", "--user", "gateway", "on", ">p@ss w/rd", "~apigateway:*",
                     "&apigateway:*", "+@all", "--user", "admin", "on", ">root", "~*", "+@all",
                     admin=("admin", "root")) as server:
        url = server.url.replace("redis://", "redis://gateway:p%40ss%20w%2Frd@") + "/3"
        one = await linked(url)
        assert one.link.connected, one.link.why
        assert (await one.decide())[0] == 1
        assert server.commands([("SELECT", 3), ("GET", KEY)])[-1] == b"1"
        assert b"name=apigateway:test" in server.command("CLIENT", "LIST")
        assert "p@ss" not in repr(one.settings) + one.settings.url

        wrong = await linked({"url": server.url.replace("redis://", "redis://gateway@"), "password": "nonsense"})
        assert not wrong.link.connected
        assert "WRONGPASS" in wrong.link.why
        assert "nonsense" not in repr(wrong.events.events)
        nobody = await linked(server.url)
        assert "NOAUTH" in nobody.link.why
        server.command("ACL", "SETUSER", "gateway", "-set")
        may_not = await linked(url)
        assert code_of(may_not.link.why) == "NOPERM"


@ensureDeferred
async def test_a_caller_that_gives_up_disturbs_nobody(linked: Any, redis: RedisServer) -> None:
    one = await linked(redis.unix_url)
    first, second, third = (one.link.call(b"ECHO", text) for text in (b"1", b"2", b"3"))
    second.addErrback(lambda _: None)
    second.cancel()
    assert await first == b"1"
    assert await third == b"3"


@ensureDeferred
async def test_what_is_closed_ends_what_is_waited_for(linked: Any, fake: RespServer) -> None:
    one = await linked(fake.url)
    fake.answer = lambda command: None
    waiting = one.link.call(b"GET", b"x")
    one.remote.close()
    with pytest.raises(StoreUnavailable):
        await waiting
    with pytest.raises(StoreUnavailable):
        one.link.call(b"GET", b"x")
    await until(lambda: fake.connections == 0)
    await turn()
    assert one.lines() == []


@pytest.mark.parametrize(
    ("text", "unavailable"),
    [
        ("LOADING Redis is loading the dataset in memory", True),
        ("READONLY You can't write against a read only replica.", True),
        ("MASTERDOWN Link with MASTER is down", True),
        ("OOM command not allowed when used memory > 'maxmemory'.", True),
        ("NOPERM this user has no permissions", True),
        ("NOREPLICAS Not enough good replicas to write.", True),
        ("BUSY Redis is busy running a script.", True),
        ("MOVED 866 10.0.0.1:6379", True),
        ("ERR Error running script: @user_script:1: -OOM command not allowed", True),
        ("ERR max number of clients reached", True),
        ("ERR The user executing the script can't run this command or subcommand script: 1, on @user_script:2.", True),
        ("ERR The user executing the script can't access at least one of the keys mentioned", True),
        ("ERR ACL failure in script: User u has no permissions to run the 'set' command", True),
        ("WRONGTYPE Operation against a key", False),
        ("ERR Error compiling script", False),
        ("ERR unknown command 'X'", False),
    ],
)  # fmt: skip
def test_what_errors_mean(text: str, unavailable: bool) -> None:
    assert isinstance(exception_of(text), StoreUnavailable) == unavailable
    assert isinstance(exception_of(text), StoreError) != unavailable
