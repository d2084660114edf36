"""What a connection leaves behind when it is over: nothing that only the collector would find. A reload freezes what is
there, and what was garbage by then would stay for ever."""

from __future__ import annotations

from collections import Counter
from collections.abc import Awaitable, Callable

import pytest
from pytest_twisted import ensureDeferred
from toolkit.authority import Authority
from toolkit.client import Client, request
from toolkit.garbage import garbage, no_collector
from toolkit.origin import Asked
from toolkit.settings import api, route, simple, upstream
from toolkit.stage import Stage
from toolkit.waiting import until
from toolkit.websocket import SWITCH, UPGRADE, frame

__all__ = ["no_collector"]

SOME = 5


async def answers(asked: Asked) -> None:
    """By target: an answer, pieces, half of one, an end inside, nothing."""
    if asked.target == "/chunked":
        asked.send(b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n3\r\nabc\r\n0\r\n\r\n")
    elif asked.target == "/half":
        asked.send(b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n3\r\nabc\r\n4\r\nd")
    elif asked.target == "/broken":
        asked.send(b"HTTP/1.1 200 OK\r\nContent-Length: 10\r\n\r\nabc")
        asked.connection.close()
    elif asked.target == "/tunnel":
        asked.send(SWITCH + frame(b"hello"))
    elif asked.target != "/silent":
        await asked.read()
        asked.answer(200, body=b"ok")


async def asks(client: Client) -> None:
    client.send(request("GET", "/"))
    await until(lambda: client.unread.endswith(b"ok"))
    client.close()


async def reads_pieces(client: Client) -> None:
    client.send(request("GET", "/chunked"))
    await until(lambda: client.unread.endswith(b"0\r\n\r\n"))
    client.close()


async def sends_pieces(client: Client) -> None:
    client.send(b"POST / HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\n\r\n3\r\nabc\r\n0\r\n\r\n")
    await until(lambda: client.unread.endswith(b"ok"))
    client.close()


async def leaves_while_it_sends(client: Client) -> None:
    client.send(b"POST /silent HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\n\r\n3\r\nabc\r\n4\r\nx")
    client.reset()


async def leaves_in_a_head(client: Client) -> None:
    client.send(b"GET / HTTP/1.1\r\nHos")
    client.close()


async def leaves_while_it_reads(client: Client) -> None:
    client.send(request("GET", "/half"))
    await until(lambda: b"abc" in client.unread)
    client.reset()


async def is_refused(client: Client) -> None:
    client.send(b"GET / HTTP/1.1\r\nHost: a\r\nHost: b\r\n\r\n")
    await until(lambda: b" 400 " in client.unread)
    client.close()


async def sends_nonsense(client: Client) -> None:
    client.send(b"POST / HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\n\r\nzz\r\n")
    await until(lambda: b" 400 " in client.unread)
    client.close()


async def is_cut_off(client: Client) -> None:
    client.send(request("GET", "/broken"))
    await until(lambda: client.ended)


async def asks_who_is_not_there(client: Client) -> None:
    client.send(request("GET", "/", host="gone.test"))
    await until(lambda: b" 502 " in client.unread)
    client.close()


async def upgrades(client: Client) -> None:
    client.send(request("GET", "/tunnel", *UPGRADE))
    await until(lambda: b"hello" in client.unread)
    client.reset()


WAYS = (
    asks, reads_pieces, sends_pieces, leaves_while_it_sends, leaves_in_a_head, leaves_while_it_reads, is_refused,
    sends_nonsense, is_cut_off, asks_who_is_not_there, upgrades,
)


@pytest.mark.parametrize("tls", [False, True], ids=["plain", "tls"])
@pytest.mark.parametrize("way", WAYS, ids=lambda way: way.__name__)
@ensureDeferred
async def test_a_client_leaves_nothing_behind(
    stage: Stage, authority: Authority, no_collector: None, way: Callable[[Client], Awaitable[None]], tls: bool
) -> None:
    origin = await stage.origin(answers)
    gone = await stage.origin(name="gone")
    gone.stop()
    settings = simple(origin, api(), api(route(to="gone"), name="gone", hosts=["gone.test"]))
    settings["upstreams"].append(upstream(gone, name="gone", retry={"attempts": 1}))
    if tls:
        pair = authority.pair(stage.folder, "a", "a.test")
        settings["listeners"] = [{"name": "s", "address": "127.0.0.1:0", "tls": {"certificates": [pair]}}]
    gateway = await stage.serve(settings)
    how = {"tls": authority.client(), "server_name": "a.test"} if tls else {}

    async def some() -> None:
        for _ in range(SOME):
            await way(await stage.client(**how))
        await until(lambda: not gateway.worker.bound[0].listener.connections, "all are gone")
        await until(lambda: not gateway.worker.upstreams()[0]["targets"][0]["active"], "nobody is busy")

    await some()
    garbage()
    await some()
    assert garbage() == Counter()
