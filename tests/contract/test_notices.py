"""What every INotices promises: in memory, and among workers by a server."""

from __future__ import annotations

from typing import Any

import pytest
import pytest_twisted
from pytest_twisted import ensureDeferred
from subjects import link_to
from toolkit.waiting import until
from zope.interface.verify import verifyObject

from apigateway.ports.interfaces import INotices
from apigateway.ports.memory_notices import MemoryNotices


@pytest_twisted.async_yield_fixture(params=["memory", "redis"])
async def workers(request: pytest.FixtureRequest) -> Any:
    """The notices of two workers; where nothing is shared, there is but one."""
    if request.param == "memory":
        notices = MemoryNotices()
        yield notices, notices
        return
    links = [await link_to(request.getfixturevalue("redis")) for _ in range(2)]
    yield tuple(link.remote.notices for link in links)
    for link in links:
        link.remote.close()


async def hears(teller: Any, heard: list[bytes], topic: str = "t") -> None:
    """Until what is told is heard: a worker that has just begun to listen may not be heard of yet."""

    def arrived() -> bool:
        teller.tell(topic, b"?")
        return b"?" in heard

    await until(arrived, "it is heard")
    teller.tell(topic, b"ready")
    await until(lambda: b"ready" in heard, "all of it is heard")
    heard.clear()


def test_the_interface_is_provided(workers: Any) -> None:
    assert all(verifyObject(INotices, notices) for notices in workers)


@ensureDeferred
async def test_all_who_hear_are_told_in_order(workers: Any) -> None:
    one, two = workers
    heard: list[list[bytes]] = [[], [], []]
    for notices, where in ((one, heard[0]), (two, heard[1]), (two, heard[2])):
        notices.hear("t", where.append)
    for where in heard:
        await hears(one, where)
    bodies = [b"1", b"\x00\xff", b"007", b"x" * 500, b"last"]
    for body in bodies:
        one.tell("t", body)
    for where in heard:
        await until(lambda where=where: b"last" in where, "the last is heard")
        assert where[-len(bodies):] == bodies


@ensureDeferred
async def test_who_tells_hears_it_at_once_and_once(workers: Any) -> None:
    one, two = workers
    mine: list[bytes] = []
    others: list[bytes] = []
    one.hear("t", mine.append)
    two.hear("t", others.append)
    await hears(one, mine)
    await hears(one, others)
    mine.clear()
    one.tell("t", b"1")
    assert mine == [b"1"]
    await until(lambda: b"1" in others, "the other hears it")
    await hears(two, mine)
    one.tell("t", b"2")
    assert mine == [b"2"]


@ensureDeferred
async def test_other_topics_are_not_heard(workers: Any) -> None:
    one, two = workers
    first: list[bytes] = []
    second: list[bytes] = []
    two.hear("a", first.append)
    two.hear("b", second.append)
    await hears(one, first, "a")
    await hears(one, second, "b")
    first.clear()
    one.tell("a", b"1")
    one.tell("b", b"2")
    one.tell("nobody hears", b"3")
    await until(lambda: first and second, "both are heard")
    assert (first, second) == ([b"1"], [b"2"])


@ensureDeferred
async def test_who_has_ended_hears_no_more(workers: Any) -> None:
    one, two = workers
    stayed: list[bytes] = []
    left: list[bytes] = []
    two.hear("t", stayed.append)
    end = two.hear("t", left.append)
    await hears(one, stayed)
    left.clear()
    end()
    end()
    one.tell("t", b"1")
    await until(lambda: b"1" in stayed, "the other hears it")
    assert left == []
