"""TLS to the server: verified, with a certificate of ours where it asks for one."""

from __future__ import annotations

import asyncio
import ssl
from pathlib import Path
from typing import Any

import pytest
from pytest_twisted import async_yield_fixture, ensureDeferred
from redis_server import RedisServer
from toolkit.authority import Authority
from toolkit.waiting import on_loop

from apigateway.checking import state_context
from apigateway.config.model import State


class Front:
    """Speaks TLS, and passes on to a server: not every build of a server does it by itself."""

    def __init__(self, server: RedisServer, context: Any) -> None:
        self._server, self._context = server, context
        self._listening: Any = None
        self._tasks: set[Any] = set()
        self.port = 0

    async def start(self) -> None:
        self._listening = await on_loop(asyncio.start_server(self._serve, "127.0.0.1", 0, ssl=self._context))
        self.port = self._listening.sockets[0].getsockname()[1]

    async def close(self) -> None:
        self._listening.close()
        for task in list(self._tasks):
            task.cancel()
        if self._tasks:
            await on_loop(asyncio.wait(set(self._tasks)))

    async def _serve(self, reader: Any, writer: Any) -> None:
        task = asyncio.current_task()
        self._tasks.add(task)
        far_reader, far_writer = await asyncio.open_unix_connection(self._server.path)
        try:
            await asyncio.gather(_pass_on(reader, far_writer), _pass_on(far_reader, writer))
        except (OSError, asyncio.CancelledError):
            pass
        finally:
            self._tasks.discard(task)
            far_writer.close()
            writer.close()


async def _pass_on(reader: Any, writer: Any) -> None:
    while data := await reader.read(65536):
        writer.write(data)
    writer.close()


@async_yield_fixture
async def fronted(redis: RedisServer, authority: Authority) -> Any:
    """Makes servers that speak TLS with a context."""
    made: list[Front] = []

    async def make(context: Any) -> str:
        front = Front(redis, context)
        await front.start()
        made.append(front)
        return f"rediss://localhost:{front.port}"

    yield make
    for front in made:
        await front.close()


def context_of(url: str, **more: Any) -> Any:
    return state_context(State.model_validate({"url": url, **more}))


@ensureDeferred
async def test_a_certificate_of_a_known_ca_with_the_name(linked: Any, fronted: Any, authority: Authority) -> None:
    url = await fronted(authority.server("localhost"))
    one = await linked(url, context=context_of(url, ca=str(authority.file)))
    assert one.link.connected, one.link.why
    assert (await one.decide())[0] == 1


@pytest.mark.parametrize(("name", "known"), [("other.test", True), ("localhost", False)])
@ensureDeferred
async def test_another_name_or_ca_is_refused(
    linked: Any, fronted: Any, authority: Authority, name: str, known: bool
) -> None:
    url = await fronted(authority.server(name))
    one = await linked(url, context=context_of(url, **({"ca": str(authority.file)} if known else {})))
    assert not one.link.connected
    assert "cannot be reached" in one.link.why


@ensureDeferred
async def test_a_server_that_wants_a_certificate(
    linked: Any, fronted: Any, authority: Authority, tmp_path: Path
) -> None:
    context = authority.server("localhost")
    context.verify_mode = ssl.CERT_REQUIRED
    authority.ca.configure_trust(context)
    url = await fronted(context)
    pair = authority.pair(tmp_path, "gateway", "gateway.test")
    shown = await linked(url, context=context_of(url, ca=str(authority.file), certificate=pair))
    assert shown.link.connected, shown.link.why
    without = await linked(url, context=context_of(url, ca=str(authority.file)))
    assert not without.link.connected


@ensureDeferred
async def test_a_server_without_tls(linked: Any, redis: RedisServer, authority: Authority) -> None:
    url = redis.url.replace("redis://127.0.0.1", "rediss://localhost")
    one = await linked(url, context=context_of(url, ca=str(authority.file)))
    assert not one.link.connected
