"""concurrency-limit over real sockets: a place is free again within a second of every ending."""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from typing import Any

import pytest
from pytest_twisted import ensureDeferred
from toolkit.client import request
from toolkit.origin import Asked
from toolkit.settings import Settings, api, simple, step, steps
from toolkit.stage import Stage
from toolkit.waiting import until

MIB = 1 << 20
UPLOAD = b"POST /slow HTTP/1.1\r\nHost: gw.test\r\nContent-Length: %d\r\n\r\n" % (10 * MIB) + b"x" * (MIB // 2)
UPGRADE = b"GET /socket HTTP/1.1\r\nHost: gw.test\r\nConnection: Upgrade\r\nUpgrade: websocket\r\n" + (
    b"Sec-WebSocket-Version: 13\r\nSec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\n\r\n"
)
ACCEPTED = b"HTTP/1.1 101 Switching Protocols\r\nConnection: Upgrade\r\nUpgrade: websocket\r\n" + (
    b"Sec-WebSocket-Accept: s3pPLMBiTxaQ9kYGzzhZRbK+xOo=\r\n\r\n"
)
PART = b"HTTP/1.1 200 OK\r\nContent-Length: 100\r\n\r\nten octets"


async def script(asked: Asked) -> None:
    """/quick is answered; of the others some begin an answer."""
    if asked.target == "/quick":
        asked.answer(200, b"ok")
    elif asked.target == "/part":
        asked.send(PART)
    elif asked.target == "/nonsense":
        asked.send(b"what?\r\n\r\n")
    elif asked.target == "/socket":
        asked.send(ACCEPTED)


def one_at_a_time(origin: Any, *more: Settings, **up: Any) -> Settings:
    limit = step("concurrency-limit", limit=1, by="api", lease="1h")
    return simple(origin, api(pre_flow=steps(limit, *more)), up=up)


async def held(stage: Stage) -> bool:
    """Whether the place is taken: a request that would be quick is refused."""
    answer = await stage.ask("GET", "/quick")
    assert answer.status in (200, 429)
    assert answer.status == 200 or (answer.kind, answer.get("retry-after")) == ("concurrency-limited", "1")
    return answer.status == 429


async def free_again(stage: Stage) -> None:
    """Within a second, or somewhat more where the machine is slow."""
    await until(lambda: stage.gateway.worker.status()["exchanges_running"] == 0, "it ends", within=1.5)
    assert not await held(stage)
    assert not await held(stage)


Leave = Callable[[Any, Any], Awaitable[None] | None]
ENDINGS: dict[str, tuple[bytes, Leave]] = {
    "the client closes": (request("GET", "/slow"), lambda client, origin: client.close()),
    "the client resets": (request("GET", "/slow"), lambda client, origin: client.reset()),
    "the client leaves in an upload": (UPLOAD, lambda client, origin: client.close()),
    "the client resets in an upload": (UPLOAD, lambda client, origin: client.reset()),
    "the client leaves in a download": (request("GET", "/part"), lambda client, origin: client.close()),
    "the client leaves with more in the pipe": (
        request("GET", "/slow") + request("GET", "/slow"), lambda client, origin: client.reset(),
    ),
    "the upstream closes": (request("POST", "/slow", body=b"x"), lambda client, origin: origin.last.connection.close()),
    "the upstream dies": (request("POST", "/slow", body=b"x"), lambda client, origin: origin.last.connection.reset()),
    "the upstream dies in its answer": (
        request("GET", "/part"), lambda client, origin: origin.last.connection.reset(),
    ),
    "the end of a WebSocket": (UPGRADE, lambda client, origin: client.close()),
    "the upstream's end of a WebSocket": (UPGRADE, lambda client, origin: origin.last.connection.close()),
}


@pytest.mark.parametrize("ending", list(ENDINGS))
@ensureDeferred
async def test_a_place_is_free_again_after(stage: Stage, ending: str) -> None:
    octets, leave = ENDINGS[ending]
    origin = await stage.origin(script)
    await stage.serve(one_at_a_time(origin))
    client = await stage.client()
    client.send(octets)
    await until(lambda: origin.asked)
    assert await held(stage)
    leave(client, origin)
    await free_again(stage)


@pytest.mark.parametrize(
    ("target", "timeouts", "status"),
    [
        ("/slow", {"response": "200ms"}, 504),
        ("/slow", {"total": "200ms"}, 504),
        ("/nonsense", {}, 502),
        ("/quick", {}, 200),
    ],
)
@ensureDeferred
async def test_a_place_is_free_again_after_an_answer_of(
    stage: Stage, target: str, timeouts: Settings, status: int
) -> None:
    origin = await stage.origin(script)
    await stage.serve(one_at_a_time(origin, timeouts=timeouts))
    for _ in range(3):
        assert (await stage.ask("GET", target)).status == status
    await free_again(stage)


@ensureDeferred
async def test_a_place_is_free_again_after_an_upstream_that_is_not_there(stage: Stage) -> None:
    origin = await stage.origin(script)
    await stage.serve(one_at_a_time(origin))
    origin.die()
    for _ in range(3):
        assert (await stage.ask("GET", "/quick")).status in (502, 503)
    await origin.listen()
    await until(lambda: stage.gateway.worker.status()["exchanges_running"] == 0)
    assert (await stage.ask("GET", "/quick")).status == 200


@ensureDeferred
async def test_a_place_is_free_again_after_a_step_that_fails_or_is_late(stage: Stage) -> None:
    origin = await stage.origin(script)
    late = {**step("mock", delay="1h"), "timeout": "100ms", "when": 'request.path == "/late"'}
    refusing = {**step("maintenance"), "when": 'request.path == "/refused"'}
    await stage.serve(one_at_a_time(origin, late, refusing))
    for _ in range(2):
        assert (await stage.ask("GET", "/late")).status == 500
        assert (await stage.ask("GET", "/refused")).status == 503
    await free_again(stage)


@ensureDeferred
async def test_a_place_is_held_over_a_reload_and_free_after_it(stage: Stage) -> None:
    origin = await stage.origin(script)
    settings = one_at_a_time(origin)
    await stage.serve(settings)
    client = await stage.client()
    client.send(request("GET", "/slow"))
    await until(lambda: origin.asked)
    stage.gateway.write({**settings, "environment": "default", "trusted_proxies": ["192.0.2.1"]})
    await stage.gateway.reload()
    assert await held(stage)
    client.close()
    await free_again(stage)
