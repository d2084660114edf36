"""Clients that are slow, silent or gone."""

from __future__ import annotations

import pytest
from pytest_twisted import ensureDeferred
from toolkit.client import request
from toolkit.origin import Asked
from toolkit.settings import Settings, api, simple, step, steps, upstream
from toolkit.stage import Stage
from toolkit.stream import TOO_MUCH
from toolkit.waiting import reactor, steady, turn, until


def limited(**limits: str) -> Settings:
    """A listener with limits."""
    return {"listeners": [{"name": "public", "address": "127.0.0.1:0", "limits": limits}]}


def say_nothing(asked: Asked) -> None:
    """Let the client wait."""


@ensureDeferred
async def test_a_head_that_does_not_come_in_time_gets_408(stage: Stage) -> None:
    origin = await stage.origin()
    await stage.serve(simple(origin, **limited(header_timeout="200ms")))
    client = await stage.client()
    began = reactor.seconds()
    client.send(b"GET / HTTP/1.1\r\nHost: gw.test\r\n")
    while not client.size and reactor.seconds() - began < 4.0:
        client.send(b"X-Slow: 1\r\n")  # a field now and then does not buy time
        await turn(0.02)
    answer = await client.answer()
    assert (answer.status, answer.kind, answer.get("connection")) == (408, "request-timeout", "close")
    assert 0.15 < reactor.seconds() - began < 4.0
    assert (await stage.gateway.line())["status"] == 408


@ensureDeferred
async def test_the_second_head_has_its_own_time(stage: Stage) -> None:
    origin = await stage.origin()
    await stage.serve(simple(origin, **limited(header_timeout="200ms", idle_timeout="5s")))
    client = await stage.client()
    assert (await client.ask("GET", "/")).status == 200
    await steady(lambda: not client.ended, 0.3, "idle is another time")
    client.send(b"GET / HT")
    assert (await client.answer(within=1.0)).status == 408


@ensureDeferred
async def test_who_never_says_anything_is_sent_away_without_a_word(stage: Stage) -> None:
    origin = await stage.origin()
    await stage.serve(simple(origin, **limited(header_timeout="150ms")))
    client = await stage.client()
    await client.gone(within=1.0)
    assert client.size == 0


@ensureDeferred
async def test_an_idle_connection_is_closed(stage: Stage) -> None:
    origin = await stage.origin()
    await stage.serve(simple(origin, **limited(idle_timeout="150ms")))
    client = await stage.client()
    assert (await client.ask("GET", "/")).status == 200
    began = reactor.seconds()
    await client.gone(within=1.0)
    assert reactor.seconds() - began > 0.1
    assert client.unread == b""
    await until(lambda: not stage.gateway.worker.bound[0].listener.connections)


@ensureDeferred
async def test_a_slow_upstream_does_not_count_as_idle(stage: Stage) -> None:
    async def slow(asked: Asked) -> None:
        await turn(0.4)
        asked.answer(200, b"late")

    origin = await stage.origin(slow)
    await stage.serve(
        simple(origin, **limited(idle_timeout="100ms", header_timeout="100ms", body_timeout="100ms"))
    )
    assert (await stage.ask("GET", "/")).body == b"late"


@pytest.mark.parametrize("how", ["close", "reset"])
@pytest.mark.parametrize("octets", [request("GET", "/slow"), request("POST", "/slow", body=b"x" * 1000)])
@ensureDeferred
async def test_a_client_that_leaves_takes_its_upstream_request_along(
    stage: Stage, how: str, octets: bytes
) -> None:
    origin, other = await stage.origin(say_nothing), await stage.origin()
    await stage.serve(
        {**simple(origin), "upstreams": [upstream(origin, other, health={"passive": {"failures": 1}})]}
    )
    client = await stage.client()
    client.send(octets)
    await until(lambda: origin.asked)
    client.close() if how == "close" else client.reset()
    await until(lambda: not origin.open, "the connection to the origin ends", within=1.0)
    line = await stage.gateway.line()
    assert (line["status"], line["fault"]["type"], line["attempts"]) == (499, "client-closed", 1)
    # It says nothing of the target, is not tried elsewhere, and nothing is left counted.
    first, second = stage.gateway.worker.upstreams()[0]["targets"]
    assert (first["active"], first["usable"], len(other.asked)) == (0, True, 0)
    assert stage.gateway.worker.status()["exchanges_running"] == 0
    assert first["connections"] == second["connections"] == {"idle": 0, "busy": 0}


@ensureDeferred
async def test_many_clients_that_leave_leave_nothing(stage: Stage) -> None:
    origin = await stage.origin(say_nothing)
    await stage.serve(simple(origin, up={"balance": "least-connections"}))
    clients = [await stage.client() for _ in range(60)]
    for client in clients:
        client.send(request("GET", "/slow"))
    await until(lambda: len(origin.asked) == 60)
    assert stage.gateway.worker.upstreams()[0]["targets"][0]["active"] == 60
    for client in clients:
        client.close()
    await until(lambda: not origin.open, within=1.0)
    target = stage.gateway.worker.upstreams()[0]["targets"][0]
    assert (target["active"], target["connections"]) == (0, {"idle": 0, "busy": 0})


@ensureDeferred
async def test_a_client_that_leaves_while_a_connection_is_being_opened(stage: Stage) -> None:
    origin = await stage.origin()
    # An address of TEST-NET-1 answers no SYN, or nobody routes it: in either case nothing is left.
    blackhole = {"name": "up", "targets": [{"url": "http://192.0.2.1:9"}], "timeouts": {"connect": "10s"}}
    await stage.serve({**simple(origin), "upstreams": [blackhole]})
    client = await stage.client()
    client.send(request("GET", "/slow"))
    await turn(0.05)
    client.close()
    line = await stage.gateway.line()
    assert line["status"] in (499, 502)
    assert stage.gateway.worker.upstreams()[0]["targets"][0]["connections"] == {"idle": 0, "busy": 0}


@ensureDeferred
async def test_a_client_that_leaves_with_requests_in_the_pipe(stage: Stage) -> None:
    origin = await stage.origin(say_nothing)
    await stage.serve(simple(origin))
    client = await stage.client()
    client.send(request("GET", "/1") + request("GET", "/2") + request("GET", "/3"))
    await until(lambda: origin.asked)
    client.close()
    await until(lambda: not origin.open, "the connection to the origin ends", within=1.5)
    line = await stage.gateway.line()
    assert (line["target"], line["status"]) == ("/1", 499)


@ensureDeferred
async def test_a_client_that_leaves_in_an_upload_that_nobody_reads(stage: Stage) -> None:
    async def read_nothing(asked: Asked) -> None:
        asked.connection.pause()

    origin = await stage.origin(read_nothing)
    await stage.serve(simple(origin))
    client = await stage.client()
    client.send(
        b"POST /up HTTP/1.1\r\nHost: gw.test\r\nContent-Length: 104857600\r\n\r\n" + b"x" * TOO_MUCH
    )
    await until(lambda: origin.asked)
    await steady(lambda: client.stuck, 0.2)
    client.reset()
    await until(lambda: stage.gateway.worker.status()["exchanges_running"] == 0, within=1.5)
    assert (await stage.gateway.line())["status"] == 499


@ensureDeferred
async def test_a_client_that_does_not_read_is_cut_off(stage: Stage) -> None:
    async def much(asked: Asked) -> None:
        asked.send(b"HTTP/1.1 200 OK\r\nContent-Length: 104857600\r\n\r\n")
        await asked.connection.send_slowly(b"x" * (32 << 20), within=3.0)

    origin = await stage.origin(much)
    await stage.serve(simple(origin, **limited(body_timeout="200ms")))
    client = await stage.client()
    client.pause()
    client.send(request("GET", "/much"))
    await until(lambda: origin.asked)
    await until(lambda: stage.gateway.worker.status()["exchanges_running"] == 0, within=2.0)
    await until(lambda: not stage.gateway.worker.bound[0].listener.connections)
    await until(lambda: not origin.open)


@ensureDeferred
async def test_a_policy_that_answers_at_once_leaves_nothing_either(stage: Stage) -> None:
    origin = await stage.origin()
    await stage.serve(simple(origin, api(pre_flow=steps(step("mock", status=200, body="m" * 1000)))))
    client = await stage.client()
    client.send(request("GET", "/") * 200)
    client.reset()
    await until(lambda: not stage.gateway.worker.bound[0].listener.connections)
    assert stage.gateway.worker.status()["exchanges_running"] == 0
