"""Fault 21: an upstream that leaves before its response is complete. 502 while that can be said, else nobody may take
what came for the whole."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest
from fault_proxy import FaultProxy
from pytest_twisted import ensureDeferred
from toolkit.authority import Authority
from toolkit.client import Client, request
from toolkit.message import Answer, split_head
from toolkit.origin import Asked
from toolkit.settings import Settings, api, simple, step, steps
from toolkit.stage import Stage
from toolkit.waiting import until

Proxies = Callable[..., FaultProxy]
ONCE: dict[str, Any] = {"retry": {"attempts": 1}, "health": {"passive": None}}
SIZED = b"HTTP/1.1 200 OK\r\nContent-Length: 10\r\n\r\nabcdefghij"
CHUNKED = b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n5\r\nabcde\r\n5\r\nfghij\r\n0\r\nX-Sum: 1\r\n\r\n"
framings = pytest.mark.parametrize("octets", [pytest.param(SIZED, id="sized"), pytest.param(CHUNKED, id="chunked")])
endings = pytest.mark.parametrize("how", ["end_after", "reset_after"])

BUFFERING = '''"""Wants the whole response."""

from zope.interface import implementer

from apigateway.config.model import Settings
from apigateway.flow.interfaces import IOnResponse
from apigateway.flow.kinds import Call, Example, buffer, kind


class Config(Settings):
    """Nothing to set."""


@implementer(IOnResponse)
class Whole:
    """Looks at it."""

    def __init__(self, config):
        pass

    def provision(self, services):
        pass

    def close(self):
        pass

    def on_response(self, exchange):
        return None


KIND = kind("whole", config=Config, policy=Whole, response_body=buffer(1000))
EXAMPLES = (Example("it looks", {}, (Call(),)),)
'''


async def all_of_it(stage: Stage, octets: bytes = request("GET", "/", "Connection: close")) -> tuple[Client, bytes]:
    """Everything that a client gets for a request, up to the end of its connection."""
    client = await stage.client()
    client.send(octets)
    await until(lambda: client.ended)
    return client, bytes(client.record)


def whole(raw: bytes) -> bool:
    """Whether a client would take this for a complete response (RFC 9112 6.3)."""
    head, mark, body = raw.partition(b"\r\n\r\n")
    answer = Answer(*split_head(head + mark), raw=raw)
    if answer.get("transfer-encoding"):
        return b"\r\n0\r\n" in body  # the octets of the bodies here are letters
    return len(body) == int(answer.get("content-length") or -1)


@framings
@endings
@ensureDeferred
async def test_wherever_it_is_cut_it_never_looks_whole(
    stage: Stage, proxies: Proxies, octets: bytes, how: str
) -> None:
    origin = await stage.origin(lambda asked: asked.send(octets))
    proxy = proxies((origin.address, origin.port))
    await stage.serve(simple(proxy, up=ONCE))
    head = octets.index(b"\r\n\r\n") + 4
    seen = set()
    for cut in range(len(octets)):
        setattr(proxy.down, how, cut)
        _, raw = await all_of_it(stage)
        seen.add(raw[:12])
        if raw.startswith(b"HTTP/1.1 502 "):
            assert cut <= head and whole(raw), cut
        else:  # nothing at all, where the end came with the head: then the client's connection ends as its own did
            assert cut >= head and (not raw or not whole(raw)), (cut, raw)
        # And what was cut is not used again.
        setattr(proxy.down, how, None)
        assert (await stage.ask("GET", "/next")).body == b"abcdefghij", cut
        proxy.reset()
        await until(lambda: stage.gateway.worker.upstreams()[0]["targets"][0]["connections"] == NOTHING)
    assert {b"HTTP/1.1 502", b"HTTP/1.1 200"} <= seen <= {b"HTTP/1.1 502", b"HTTP/1.1 200", b""}
    kinds = {line["fault"]["type"] for line in stage.gateway.access() if "fault" in line}
    assert kinds <= {"upstream-reset", "incomplete-response"}


NOTHING = {"idle": 0, "busy": 0}


@endings
@ensureDeferred
async def test_the_log_says_so(stage: Stage, proxies: Proxies, how: str) -> None:
    origin = await stage.origin(lambda asked: asked.send(SIZED))
    proxy = proxies((origin.address, origin.port))
    setattr(proxy.down, how, len(SIZED) - 3)
    await stage.serve(simple(proxy, up=ONCE))
    await all_of_it(stage)
    line = await stage.gateway.line()
    assert (line["status"], line["fault"]["type"], line["attempts"]) == (200, "incomplete-response", 1)


@endings
@ensureDeferred
async def test_in_the_head_a_get_is_tried_again_and_a_post_is_not(
    stage: Stage, proxies: Proxies, how: str
) -> None:
    origin = await stage.origin(lambda asked: asked.send(SIZED))
    proxy = proxies((origin.address, origin.port))
    setattr(proxy.down, how, 20)
    await stage.serve(simple(proxy))
    assert (await stage.ask("POST", "/pay", body=b"5")).status == 502
    assert (await stage.ask("GET", "/")).status == 502
    assert [asked.target for asked in origin.asked] == ["/pay", "/", "/"]


@endings
@ensureDeferred
async def test_a_policy_that_wants_the_whole_response_gets_502_instead(
    stage: Stage, proxies: Proxies, how: str
) -> None:
    origin = await stage.origin(lambda asked: asked.send(SIZED))
    proxy = proxies((origin.address, origin.port))
    (stage.folder / "policies").mkdir()
    (stage.folder / "policies" / "whole.py").write_text(BUFFERING)
    buffered: Settings = api(pre_flow=steps(step("whole")))
    await stage.serve(simple(proxy, buffered, up=ONCE, policy_paths=["policies"]))
    assert (await stage.ask("GET", "/")).body == b"abcdefghij"
    proxy.reset()
    setattr(proxy.down, how, len(SIZED) - 3)
    answer = await stage.ask("GET", "/")
    assert (answer.status, answer.kind) == (502, "incomplete-response")


@framings
@ensureDeferred
async def test_a_client_that_is_told_the_end_by_the_close_sees_a_reset_instead(
    stage: Stage, proxies: Proxies, octets: bytes
) -> None:
    """An HTTP/1.0 client cannot be told of chunks: for it, a close in good order would be the end of the body."""
    origin = await stage.origin(lambda asked: asked.send(octets))
    proxy = proxies((origin.address, origin.port))
    await stage.serve(simple(proxy, up=ONCE))
    old = b"GET / HTTP/1.0\r\nHost: gw.test\r\n\r\n"
    client, raw = await all_of_it(stage, old)
    assert raw.endswith(b"abcdefghij") and client.reason is None
    proxy.reset()
    proxy.down.end_after = octets.index(b"\r\n\r\n") + 9
    client, raw = await all_of_it(stage, old)
    await until(lambda: client.closed)
    assert isinstance(client.reason, ConnectionResetError), raw


@ensureDeferred
async def test_a_close_without_the_end_of_tls_is_not_the_end_of_a_body(
    stage: Stage, proxies: Proxies, authority: Authority
) -> None:
    """Whoever is between can end TCP; only the peer can end TLS (RFC 9112 9.8)."""
    octets = b"HTTP/1.1 200 OK\r\n\r\nabcdefghij"

    def script(asked: Asked) -> None:
        asked.send(octets)
        if asked.target == "/whole":
            asked.connection.close()

    origin = await stage.origin(script, tls=authority.server("127.0.0.1"))
    proxy = proxies((origin.address, origin.port), scheme="https")
    await stage.serve(simple(proxy, up={**ONCE, "tls": {"ca": str(authority.file)}}))
    _, raw = await all_of_it(stage, request("GET", "/whole", "Connection: close"))
    assert whole(raw)
    client = await stage.client()
    client.send(request("GET", "/cut"))
    await until(lambda: b"abcdefghij" in client.record)
    proxy.down.end_after = 0
    origin.open[0].send(b"more")
    await until(lambda: client.ended)
    assert not whole(bytes(client.record))
