"""RC-O07: Expect: 100-continue. Nobody waits for ever, who is refused sends no body, and one final answer each."""

from __future__ import annotations

import hashlib
from typing import Any

from pytest_twisted import ensureDeferred
from toolkit.client import Client
from toolkit.message import Answer
from toolkit.origin import Asked, Origin, Script, read_and_answer
from toolkit.settings import api, route, simple, step, steps
from toolkit.stage import Stage
from toolkit.waiting import reactor, steady, turn, until

SIZE = 1 << 20
BODY = bytes(range(256)) * (SIZE // 256)
CONTINUE = b"HTTP/1.1 100 Continue\r\n\r\n"


def head(target: str, key: str | None = "k1") -> bytes:
    """The head of an upload, of which the body waits for a 100."""
    token = "" if key is None else f"X-Key: {key}\r\n"
    lines = f"Host: gw.test\r\nExpect: 100-continue\r\nContent-Length: {SIZE}\r\n{token}"
    return f"POST {target} HTTP/1.1\r\n{lines}\r\n".encode()


async def stand(stage: Stage, script: Script = read_and_answer) -> tuple[Client, Origin]:
    """A client of a gateway with a key for all routes, and a limit of 512 KiB for /small."""
    origin = await stage.origin(script)
    small = route("/small", name="small", pre_flow=steps(step("message-size", max="512KiB")))
    consumers = [{"name": "acme", "api_keys": [{"sha256": hashlib.sha256(b"k1").hexdigest()}]}]
    one = api(small, route(), pre_flow=steps(step("api-key", header="X-Key")))
    await stage.serve(simple(origin, one, consumers=consumers))
    return await stage.client(), origin


async def nothing_else(stage: Stage, client: Client, answer: Answer) -> dict[str, Any]:
    """The answer was the one final one, the client's connection ends behind it; its line in the access log."""
    assert answer.get("connection") == "close"
    assert await client.rest() == b""
    client.close()
    await until(stage.gateway.access)
    [line] = stage.gateway.access()
    assert line["status"] == answer.status
    return line


async def send_body_and_read(stage: Stage, client: Client) -> None:
    """The rest of an upload that was told to go on; one answer, and the next request on the same connection."""
    client.send(BODY)
    answer = await client.answer()
    assert (answer.status, answer.interim, answer.body) == (200, [], hashlib.sha256(BODY).hexdigest().encode())
    assert (await client.ask("POST", "/next", "X-Key: k1", body=b"")).status == 200
    assert [line["status"] for line in await lines(stage, 2)] == [200, 200]


async def lines(stage: Stage, count: int) -> list[dict[str, Any]]:
    await until(lambda: len(stage.gateway.access()) >= count)
    return stage.gateway.access()


async def digest(asked: Asked) -> None:
    """Read the body, and answer what came."""
    asked.answer(200, hashlib.sha256(await asked.read()).hexdigest().encode())


@ensureDeferred
async def test_rc_o07_a_without_a_key_there_is_401_and_no_100(stage: Stage) -> None:
    client, origin = await stand(stage)
    client.send(head("/up", key=None))
    answer = await client.answer()
    assert (answer.status, answer.kind, answer.interim) == (401, "unauthenticated", [])
    await nothing_else(stage, client, answer)
    assert origin.connections == []


@ensureDeferred
async def test_rc_o07_a_a_wrong_key_is_no_key(stage: Stage) -> None:
    client, origin = await stand(stage)
    client.send(head("/up", key="k2"))
    answer = await client.answer()
    assert (answer.status, answer.interim) == (401, [])
    await nothing_else(stage, client, answer)
    assert origin.connections == []


@ensureDeferred
async def test_rc_o07_b_the_100_of_the_upstream_comes_at_once_and_200_later(stage: Stage) -> None:
    async def go_on(asked: Asked) -> None:
        if asked.get("expect") is not None:
            asked.send(CONTINUE)
        await digest(asked)

    client, origin = await stand(stage, go_on)
    client.send(head("/up"))
    await until(lambda: origin.asked)
    assert origin.last.get("expect") == "100-continue"
    assert await client.past(b"\r\n\r\n") == CONTINUE
    await send_body_and_read(stage, client)


@ensureDeferred
async def test_rc_o07_c_413_of_the_upstream_is_relayed_and_nothing_of_the_body_is_read(stage: Stage) -> None:
    client, origin = await stand(stage, lambda asked: asked.answer(413, b"too much"))
    client.send(head("/up"))
    answer = await client.answer()
    assert (answer.status, answer.body, answer.interim) == (413, b"too much", [])
    line = await nothing_else(stage, client, answer)
    assert line["octets_in"] == 0
    # The connection to the upstream still owes a body, so that it is not used again.
    await origin.connections[0].gone()
    assert origin.connections[0].unread == b""


@ensureDeferred
async def test_rc_o07_d_an_upstream_that_is_silent_for_two_seconds_holds_nobody_up(stage: Stage) -> None:
    async def hesitate(asked: Asked) -> None:
        asked.connection.pause()
        if asked.target == "/up":
            await turn(2.0)
        asked.connection.resume()
        await digest(asked)

    client, origin = await stand(stage, hesitate)
    began = reactor.seconds()
    client.send(head("/up"))
    await until(lambda: origin.asked)
    # Not at once: the upstream may say 100 itself, or refuse.
    await steady(lambda: not client.size, 0.3)
    assert await client.past(b"\r\n\r\n") == CONTINUE
    await send_body_and_read(stage, client)
    assert reactor.seconds() - began > 2.0


@ensureDeferred
async def test_rc_o07_d_a_100_that_the_upstream_says_after_ours_is_not_said_twice(stage: Stage) -> None:
    async def go_on_late(asked: Asked) -> None:
        if asked.target == "/up":
            await until(lambda: client.size, "the gateway says it first")
            asked.send(CONTINUE)
        await digest(asked)

    client, _ = await stand(stage, go_on_late)
    client.send(head("/up"))
    assert await client.past(b"\r\n\r\n") == CONTINUE
    await send_body_and_read(stage, client)
    assert bytes(client.record).count(CONTINUE) == 1


@ensureDeferred
async def test_rc_o07_e_the_announced_length_alone_is_too_much(stage: Stage) -> None:
    client, origin = await stand(stage)
    client.send(head("/small"))
    answer = await client.answer()
    assert (answer.status, answer.interim) == (413, [])
    await nothing_else(stage, client, answer)
    assert origin.connections == []
