"""The user that the documentation tells to set up: its link and its news work, and it may do nothing else."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any

import pytest
from linking import Linked
from pytest_twisted import ensureDeferred
from redis_server import RedisServer
from sentinels import Service
from toolkit.waiting import until

from apigateway.ports.interfaces import StoreUnavailable

PAGE = Path(__file__).parents[2] / "docs/state.md"


def documented() -> list[str]:
    """The words of the command."""
    found = re.search(r"^ACL SETUSER .*$", PAGE.read_text(), re.MULTILINE)
    assert found is not None
    return found[0].split()


WORDS = documented()
NAME, PASSWORD = WORDS[2], WORDS[4].removeprefix(">")


async def link_works(one: Linked, server: RedisServer) -> None:
    assert one.link.connected, one.link.why
    assert b" name=apigateway:test " in server.command("CLIENT", "LIST")
    heard: list[bytes] = []
    one.remote.notices.hear("keys", heard.append)
    await until(lambda: heard == [b""], one.lines)
    assert await one.link.call(b"PUBLISH", b"apigateway:test:keys", b"") == 1
    assert server.command("ACL", "LOG") == []


@ensureDeferred
async def test_it_may_do_what_is_needed_and_no_more(linked: Any) -> None:
    with RedisServer() as server:
        server.command(*WORDS)
        one = await linked(server.url.replace("//", f"//{NAME}:{PASSWORD}@"))
        await link_works(one, server)
        for arguments in (
            (b"FLUSHALL",), (b"CONFIG", b"GET", b"*"), (b"KEYS", b"*"), (b"GET", b"other"), (b"PUBLISH", b"other", b""),
        ):
            with pytest.raises(StoreUnavailable, match="NOPERM"):
                await one.link.call(*arguments)
            await one.link.call(b"PING")


@ensureDeferred
async def test_with_sentinels_it_may_ask_for_the_role(linked: Any) -> None:
    with Service() as service:
        for server in (service.primary, service.replica):
            server.command(*WORDS, "+role")
        one = await linked(service.url.replace("//", f"//{NAME}:{PASSWORD}@"))
        await link_works(one, service.primary)
