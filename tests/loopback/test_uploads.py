"""Requests with a body: answers that come before its end, and 100-continue."""

from __future__ import annotations

import hashlib

import pytest
from pytest_twisted import ensureDeferred
from toolkit.client import Client, request
from toolkit.origin import Asked, Script
from toolkit.settings import api, simple, step, steps
from toolkit.stage import Stage
from toolkit.stream import Closed
from toolkit.waiting import steady, turn, until

HEAD = b"POST /up HTTP/1.1\r\nHost: gw.test\r\nContent-Length: 1048576\r\n"
PIECE = b"x" * 65536


async def upload(client: Client, pieces: int = 16) -> None:
    """Send pieces until they are through, or nobody wants them."""
    for _ in range(pieces):
        if client.closed or client.size:
            return
        await client.send_slowly(PIECE)
        await turn()


@ensureDeferred
async def test_a_refusal_by_the_gateway_comes_while_the_upload_runs(stage: Stage) -> None:
    origin = await stage.origin()
    await stage.serve(simple(origin, api(pre_flow=steps(step("api-key", header="X-Key")))))
    client = await stage.client()
    client.send(HEAD + b"\r\n")
    await upload(client)
    answer = await client.answer()
    assert (answer.status, answer.kind, answer.get("connection")) == (401, "unauthenticated", "close")
    await client.gone(within=3.0)
    assert origin.connections == []


@ensureDeferred
async def test_413_from_the_announced_length_comes_before_the_body(stage: Stage) -> None:
    origin = await stage.origin()
    await stage.serve(simple(origin, api(pre_flow=steps(step("message-size", max="512KiB")))))
    client = await stage.client()
    client.send(HEAD + b"\r\n")
    answer = await client.answer(within=1.0)
    assert (answer.status, answer.get("connection"), origin.connections) == (413, "close", [])


@ensureDeferred
async def test_413_in_the_middle_of_a_chunked_upload_gives_the_upstream_up(stage: Stage) -> None:
    async def read_all(asked: Asked) -> None:
        await asked.read()
        asked.answer(200, b"all of it")

    origin = await stage.origin(read_all)
    await stage.serve(simple(origin, api(pre_flow=steps(step("message-size", max="512KiB")))))
    client = await stage.client()
    client.send(b"POST /up HTTP/1.1\r\nHost: gw.test\r\nTransfer-Encoding: chunked\r\n\r\n")
    for _ in range(9):
        await client.send_slowly(b"10000\r\n" + PIECE + b"\r\n")
    assert (await client.answer(within=1.0)).status == 413
    await until(lambda: not origin.open)
    assert not origin.last.body
    assert (await stage.gateway.line())["fault"]["type"] == "too-large"


@pytest.mark.parametrize("then", ["closes", "reads no more", "goes on reading"])
@ensureDeferred
async def test_an_early_answer_of_the_upstream_is_passed_on_while_the_upload_runs(
    stage: Stage, then: str
) -> None:
    async def refuse(asked: Asked) -> None:
        await asked.connection.exactly(1000)
        asked.answer(413, b"too much", "Connection: close")
        if then == "closes":
            asked.connection.close()
        elif then == "reads no more":
            asked.connection.pause()
        else:
            await asked.connection.rest()

    origin = await stage.origin(refuse)
    await stage.serve(simple(origin))
    client = await stage.client()
    client.send(HEAD + b"\r\n")
    await upload(client)
    answer = await client.answer()
    assert (answer.status, answer.body, answer.get("connection")) == (413, b"too much", "close")
    target = stage.gateway.worker.upstreams()[0]["targets"][0]
    assert (target["connections"], target["active"]) == ({"idle": 0, "busy": 0}, 0)
    if then == "reads no more":
        origin.connections[0].resume()
    await until(lambda: not origin.open, "the connection to the origin is given up", within=1.0)
    assert len(origin.connections) == 1
    await client.gone(within=3.0)


@ensureDeferred
async def test_an_early_answer_of_an_upstream_that_stopped_reading_leaves_nothing_waiting(
    stage: Stage,
) -> None:
    async def read_nothing(asked: Asked) -> None:
        asked.connection.pause()
        await until(lambda: stuck)
        asked.answer(413, b"too much")

    stuck: list[int] = []
    origin = await stage.origin(read_nothing)
    await stage.serve(simple(origin))
    client = await stage.client()
    client.send(HEAD.replace(b"1048576", b"104857600") + b"\r\n")
    await client.fill(PIECE * 16)
    stuck.append(1)
    assert (await client.answer()).status == 413
    target = stage.gateway.worker.upstreams()[0]["targets"][0]
    await until(
        lambda: stage.gateway.worker.upstreams()[0]["targets"][0]["connections"]["busy"] == 0
    )
    assert target["active"] == 0


@ensureDeferred
async def test_a_connection_on_which_an_answer_came_before_the_body_was_taken_is_not_used_again(stage: Stage) -> None:
    """Of a body that is whole all is written at once: the target may answer and never read it."""

    def answer(asked: Asked) -> None:
        if asked.method == "POST":
            asked.connection.pause()
        asked.answer(401 if asked.method == "POST" else 200)

    origin = await stage.origin(answer)
    await stage.serve(simple(origin, api(pre_flow=steps(step("idempotency", max_body="16MiB")))))
    client = await stage.client()
    keyed = ("Idempotency-Key: k", f"Content-Length: {len(PIECE) * 192}")
    client.send(request("POST", "/", *keyed))
    for _ in range(192):
        await client.send_slowly(PIECE)
    assert (await client.answer()).status == 401
    assert (await client.ask("GET", "/")).status == 200
    assert len(origin.connections) == 2


@ensureDeferred
async def test_a_response_that_streams_while_the_upload_still_runs(stage: Stage) -> None:
    async def echo(asked: Asked) -> None:
        asked.send(b"HTTP/1.1 200 OK\r\nContent-Length: 40\r\n\r\n")
        for _ in range(4):
            asked.send(await asked.connection.exactly(10))

    origin = await stage.origin(echo)
    await stage.serve(simple(origin))
    client = await stage.client()
    client.send(b"POST /echo HTTP/1.1\r\nHost: gw.test\r\nContent-Length: 40\r\n\r\n")
    assert (await client.head()).status == 200
    for number in range(4):
        client.send(b"%d" % number * 10)
        assert await client.exactly(10) == b"%d" % number * 10


# ---- Expect: 100-continue

EXPECT = HEAD + b"Expect: 100-continue\r\nX-Key: k1\r\n\r\n"
KEYED = {"consumers": [{"name": "acme", "api_keys": [{"sha256": hashlib.sha256(b"k1").hexdigest()}]}]}


async def stand(stage: Stage, script: Script) -> Client:
    """A gateway with a key and a limit of 2 MiB before an origin."""
    origin = await stage.origin(script)
    flow = steps(step("api-key", header="X-Key"), step("message-size", max="2MiB"))
    await stage.serve(simple(origin, api(pre_flow=flow), **KEYED))
    return await stage.client()


async def after_100(asked: Asked) -> None:
    if asked.get("expect"):
        asked.send(b"HTTP/1.1 100 Continue\r\n\r\n")
    asked.answer(200, b"%d" % len(await asked.read()))


@ensureDeferred
async def test_a_no_credentials_no_100(stage: Stage) -> None:
    client = await stand(stage, after_100)
    client.send(EXPECT.replace(b"k1", b"wrong"))
    answer = await client.answer()
    assert (answer.status, answer.interim) == (401, [])


@ensureDeferred
async def test_b_the_100_of_the_upstream_is_passed_on_and_then_the_answer(stage: Stage) -> None:
    client = await stand(stage, after_100)
    client.send(EXPECT)
    assert await client.past(b"\r\n\r\n") == b"HTTP/1.1 100 Continue\r\n\r\n"
    await upload_whole(client)
    answer = await client.answer()
    assert (answer.status, answer.body, answer.interim) == (200, b"1048576", [])
    assert (await client.ask("GET", "/next", "X-Key: k1")).status == 200


async def upload_whole(client: Client) -> None:
    for _ in range(16):
        await client.send_slowly(PIECE)


@ensureDeferred
async def test_c_an_answer_of_the_upstream_instead_of_100_needs_no_body(stage: Stage) -> None:
    client = await stand(stage, lambda asked: asked.answer(413, b"no"))
    client.send(EXPECT)
    answer = await client.answer()
    assert (answer.status, answer.interim, answer.get("connection")) == (413, [], "close")


@ensureDeferred
async def test_d_an_upstream_that_says_nothing_does_not_hold_the_client_for_ever(stage: Stage) -> None:
    async def silent(asked: Asked) -> None:
        asked.answer(200, b"%d" % len(await asked.read()))

    client = await stand(stage, silent)
    client.send(EXPECT)
    assert await client.past(b"\r\n\r\n", within=2.0) == b"HTTP/1.1 100 Continue\r\n\r\n"
    await upload_whole(client)
    answer = await client.answer()
    assert (answer.status, answer.body, answer.interim) == (200, b"1048576", [])


@ensureDeferred
async def test_e_the_limit_refuses_by_the_announced_length_without_a_100(stage: Stage) -> None:
    client = await stand(stage, after_100)
    client.send(EXPECT.replace(b"1048576", b"2097153"))
    answer = await client.answer()
    assert (answer.status, answer.interim) == (413, [])


@ensureDeferred
async def test_a_client_that_does_not_wait_for_the_100_is_served_too(stage: Stage) -> None:
    client = await stand(stage, after_100)
    client.send(EXPECT)
    await upload_whole(client)
    answer = await client.answer()
    assert (answer.status, answer.body) == (200, b"1048576")
    # Its body was there already: no 100 is owed any more (RFC 9110 10.1.1), and one would do no harm.
    assert len(answer.interim) <= 1


@ensureDeferred
async def test_other_interim_answers_are_passed_on_and_not_to_http_1_0(stage: Stage) -> None:
    def hint(asked: Asked) -> None:
        asked.send(b"HTTP/1.1 103 Early Hints\r\nLink: </a.css>\r\n\r\n")
        asked.answer(200, b"ok")

    origin = await stage.origin(hint)
    await stage.serve(simple(origin))
    client = await stage.client()
    answer = await client.ask("GET", "/")
    assert [(interim.start, interim.get("link")) for interim in answer.interim] == [
        ("HTTP/1.1 103 Early Hints", "</a.css>")
    ]
    client.send(b"GET / HTTP/1.0\r\nHost: gw.test\r\n\r\n")
    assert (await client.answer()).interim == []


# ---- a body that breaks off


@ensureDeferred
async def test_a_body_that_breaks_the_framing_never_looks_complete_to_the_origin(stage: Stage) -> None:
    async def wait_for_it(asked: Asked) -> None:
        try:
            await asked.read()
        except Closed:
            return
        asked.answer(200, b"complete")

    origin = await stage.origin(wait_for_it)
    await stage.serve(simple(origin))
    client = await stage.client()
    client.send(b"POST / HTTP/1.1\r\nHost: gw.test\r\nTransfer-Encoding: chunked\r\n\r\n5\r\nabcde\r\n")
    await until(lambda: origin.asked and len(origin.connections[0].record) > 5)
    client.send(b"zz\r\n")
    assert (await client.answer()).status == 400
    await until(lambda: not origin.open)
    assert b"0\r\n\r\n" not in origin.connections[0].record


@ensureDeferred
async def test_a_client_that_leaves_in_its_upload_never_looks_complete_to_the_origin(stage: Stage) -> None:
    origin = await stage.origin()
    await stage.serve(simple(origin))
    client = await stage.client()
    client.send(HEAD + b"\r\n" + PIECE)
    await until(lambda: origin.asked)
    client.close()
    await until(lambda: not origin.open, within=1.0)
    assert origin.connections[0].size < 200_000
    line = await stage.gateway.line()
    assert (line["status"], line["fault"]["type"], line["octets_in"]) == (499, "client-closed", 65536)


@ensureDeferred
async def test_a_slow_client_is_not_taken_for_a_slow_upstream(stage: Stage) -> None:
    async def answer_one(asked: Asked) -> None:
        await asked.read()
        if asked.target == "/answered":
            asked.answer(200, b"ok")

    origin = await stage.origin(answer_one)
    await stage.serve(simple(origin, up={"timeouts": {"response": "100ms"}}))
    client = await stage.client()
    client.send(b"POST /answered HTTP/1.1\r\nHost: gw.test\r\nTransfer-Encoding: chunked\r\n\r\n")
    for _ in range(2):
        client.send(b"1\r\nx\r\n")
        await turn(0.2)
    client.send(b"0\r\n\r\n")
    assert (await client.answer()).status == 200
    # Once it is complete, the upstream's time runs.
    client.send(b"POST /silent HTTP/1.1\r\nHost: gw.test\r\nTransfer-Encoding: chunked\r\n\r\n1\r\nx\r\n")
    await turn(0.2)
    client.send(b"0\r\n\r\n")
    assert (await client.answer()).status == 504


@ensureDeferred
async def test_a_body_that_stops_coming_ends_in_408(stage: Stage) -> None:
    origin = await stage.origin()
    listener = {"name": "public", "address": "127.0.0.1:0", "limits": {"body_timeout": "200ms"}}
    await stage.serve(simple(origin, listeners=[listener]))
    client = await stage.client()
    client.send(HEAD + b"\r\nonly this")
    await steady(lambda: not client.size, 0.1)
    answer = await client.answer(within=1.0)
    assert (answer.status, answer.kind) == (408, "request-timeout")
    await until(lambda: not origin.open)
