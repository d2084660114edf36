"""RC-O31: a limit of size holds for what is sent, whether or not it was announced.

Its variants (b), HTTP/2, and (f), gzip, ask for what the gateway does not speak or decode yet.
"""

from __future__ import annotations

import pytest
from pytest_twisted import ensureDeferred
from toolkit.client import Client, request
from toolkit.origin import Asked, Origin
from toolkit.settings import Settings, api, route, simple, step, steps
from toolkit.stage import Stage
from toolkit.waiting import turn, until

LIMIT = 524_288
CHUNKED = "Transfer-Encoding: chunked"
PIECE = 8192


def limited(how: str) -> Settings:
    """An Api with the limit, and what else goes into the file."""
    size = step("message-size", max="512KiB")
    one = {
        "policy": api(pre_flow=steps(size)),
        "policy of the route": api(route(pre_flow=steps(size))),
        "listener": api(),
    }[how]
    listener = {"name": "public", "address": "127.0.0.1:0", "limits": {"max_body": "512KiB"}}
    return {"apis": [one], **({"listeners": [listener]} if how == "listener" else {})}


class Sizes:
    """What an origin got. whole: octets of the bodies that came to their end."""

    def __init__(self) -> None:
        self.whole: list[int] = []

    async def __call__(self, asked: Asked) -> None:
        self.whole.append(len(await asked.read()))
        asked.answer(200, b"taken")


@pytest.fixture(params=["policy", "policy of the route", "listener"])
def how(request: pytest.FixtureRequest) -> str:
    """Who limits."""
    return str(request.param)


async def stand(stage: Stage, how: str) -> tuple[Origin, Sizes, Client]:
    sizes = Sizes()
    origin = await stage.origin(sizes)
    await stage.serve({**simple(origin), **limited(how)})
    return origin, sizes, await stage.client()


async def send_chunked(client: Client, octets: int) -> None:
    """A chunked body, less its end; no more of it once there is an answer."""
    left = octets
    while left and not client.size and not client.closed:
        size = min(left, PIECE)
        await client.send_slowly(b"%x\r\n" % size + b"x" * size + b"\r\n")
        left -= size
        await turn()


@ensureDeferred
async def test_rc_o31_a_chunked_body_is_413_at_the_first_octet_over_the_limit(stage: Stage, how: str) -> None:
    origin, sizes, client = await stand(stage, how)
    client.send(request("POST", "/up", CHUNKED))
    await send_chunked(client, LIMIT)
    # The limit itself is fine: the upstream has it all, and no answer is due.
    await until(lambda: origin.connections and origin.connections[0].size > LIMIT)
    assert client.size == 0
    client.send(b"1\r\nx")
    answer = await client.answer()
    assert (answer.status, answer.kind, answer.get("connection")) == (413, "too-large", "close")
    client.send(b"\r\n0\r\n\r\n")
    assert await client.rest() == b""
    await until(lambda: not origin.open)
    assert sizes.whole == []


@ensureDeferred
async def test_rc_o31_a_one_mebibyte_chunked_upload_never_is_a_complete_request(stage: Stage, how: str) -> None:
    origin, sizes, client = await stand(stage, how)
    client.send(request("POST", "/up", CHUNKED))
    await send_chunked(client, 2 * LIMIT)
    assert (await client.answer()).status == 413
    client.close()
    await until(lambda: not origin.open)
    assert sizes.whole == []
    line = await stage.gateway.line()
    assert (line["status"], line["fault"]["type"], line["fault"]["whose"]) == (413, "too-large", "client")


@ensureDeferred
async def test_rc_o31_a_chunked_body_of_exactly_the_limit_passes(stage: Stage, how: str) -> None:
    _, sizes, client = await stand(stage, how)
    client.send(request("POST", "/up", CHUNKED))
    await send_chunked(client, LIMIT)
    client.send(b"0\r\n\r\n")
    assert (await client.answer()).status == 200
    assert sizes.whole == [LIMIT]


@ensureDeferred
async def test_rc_o31_c_an_announced_body_of_exactly_the_limit_passes(stage: Stage, how: str) -> None:
    _, sizes, client = await stand(stage, how)
    assert (await client.ask("POST", "/up", body=b"x" * LIMIT)).status == 200
    assert sizes.whole == [LIMIT]


@ensureDeferred
async def test_rc_o31_d_one_octet_more_is_413_before_the_body_is_read(stage: Stage, how: str) -> None:
    origin, _, client = await stand(stage, how)
    client.send(request("POST", "/up", f"Content-Length: {LIMIT + 1}"))
    answer = await client.answer(within=2.0)
    assert (answer.status, answer.kind, answer.get("connection")) == (413, "too-large", "close")
    assert origin.connections == []


@pytest.mark.parametrize("method", ["GET", "HEAD", "DELETE", "POST", "PUT", "OPTIONS"])
@ensureDeferred
async def test_rc_o31_e_a_request_without_body_and_length_passes(stage: Stage, how: str, method: str) -> None:
    origin, sizes, client = await stand(stage, how)
    for _ in range(2):  # and leaves the connection as it was
        client.send(request(method, "/up"))
        assert (await client.answer(method)).status == 200
    assert sizes.whole == [0, 0]
    assert origin.last.get("content-length") in (None, "0") and origin.last.get("transfer-encoding") is None


@ensureDeferred
async def test_rc_o31_the_limit_of_answers_is_one_of_its_own(stage: Stage) -> None:
    async def much(asked: Asked) -> None:
        await asked.read()
        asked.answer(200, b"x" * (LIMIT + 1))

    origin = await stage.origin(much)
    await stage.serve({**simple(origin), **limited("policy")})
    assert len((await stage.ask("POST", "/up", body=b"small")).body) == LIMIT + 1
