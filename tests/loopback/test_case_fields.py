"""RC-O04, RC-O05: fields that may not be joined, and fields that end here."""

from __future__ import annotations

import hashlib

import pytest
from pytest_twisted import ensureDeferred
from toolkit.message import Answer
from toolkit.origin import Asked
from toolkit.settings import Settings, api, simple, step, steps
from toolkit.stage import Stage

COOKIES = ["sid=1; Path=/; Expires=Wed, 09 Jun 2027 10:18:14 GMT", "theme=dark; Path=/", "lang=en"]


def set_cookies(asked: Asked) -> None:
    asked.send(
        b"HTTP/1.1 200 OK\r\nSet-Cookie: sid=1; Path=/; Expires=Wed, 09 Jun 2027 10:18:14 GMT\r\n"
        b"Set-Cookie: theme=dark; Path=/\r\nset-cookie: lang=en\r\nContent-Length: 2\r\n\r\nok"
    )


@pytest.mark.parametrize(
    ("policies", "cookies"),
    [
        pytest.param((), COOKIES, id="no-policy"),
        pytest.param((step("set-headers", set={"X-Trace": "1"}),), COOKIES, id="another-field"),
        pytest.param(
            (step("set-headers", append={"Set-Cookie": "gw=1"}),), [*COOKIES, "gw=1"], id="one-more"
        ),
        pytest.param((step("security-headers"),), COOKIES, id="security-headers"),
    ],
)
@ensureDeferred
async def test_rc_o04_every_set_cookie_keeps_its_line(
    stage: Stage, policies: tuple[Settings, ...], cookies: list[str]
) -> None:
    origin = await stage.origin(set_cookies)
    await stage.serve(simple(origin, api(pre_flow=steps(response=policies))))
    answer = await stage.ask("GET", "/")
    assert answer.all("set-cookie") == cookies
    assert answer.body == b"ok"


@ensureDeferred
async def test_rc_o04_repeated_fields_of_either_direction_keep_their_lines_and_order(stage: Stage) -> None:
    def repeat(asked: Asked) -> None:
        asked.answer(
            200, b"", "Link: <a>, <b>", "WWW-Authenticate: A", "X-A: 1", "WWW-Authenticate: B", "X-A: 2, 3"
        )

    origin = await stage.origin(repeat)
    await stage.serve(simple(origin))
    answer = await stage.ask("GET", "/", "X-A: 1", "Cookie: a=1", "X-A: 2, 3", "Cookie: b=2", "X-A:")
    assert origin.last.all("x-a") == ["1", "2, 3", ""]
    assert origin.last.all("cookie") == ["a=1", "b=2"]
    assert answer.all("www-authenticate") == ["A", "B"]
    assert answer.all("x-a") == ["1", "2, 3"]
    assert answer.all("link") == ["<a>, <b>"]


# What the gateway itself tells an origin.
OWN = {"host", "via", "x-forwarded-for", "x-forwarded-host", "x-forwarded-port", "x-forwarded-proto"}


@ensureDeferred
async def test_rc_o05_1_what_is_for_this_hop_ends_here(stage: Stage) -> None:
    origin = await stage.origin()
    await stage.serve(simple(origin))
    answer = await stage.ask(
        "GET",
        "/",
        "Connection: close, X-Hop, Keep-Alive",
        "X-Hop: 1",
        "Keep-Alive: timeout=5",
        "Proxy-Connection: keep-alive",
        "TE: trailers, deflate",
        "Upgrade: h2c",
        "HTTP2-Settings: AAMA",
        "X-Keep: 2",
    )
    assert answer.status == 200
    # `TE: trailers` is our own word to the origin: we do pass trailers on (RFC 9110 10.1.4).
    assert set(origin.last.names) - OWN == {"x-keep", "te", "connection"}
    assert (origin.last.get("te"), origin.last.get("connection")) == ("trailers", "te")
    # The client closes; the connection to the origin is ours, and stays.
    assert answer.get("connection") == "close"
    assert (await stage.ask("GET", "/")).status == 200
    assert len(origin.connections) == 1


@pytest.mark.parametrize(
    "lines",
    [
        ("Connection: X-Hop", "Connection: x-other", "X-Hop: 1", "X-Other: 2"),
        ("Connection: keep-alive,,  X-HOP ,", "x-hop: 1"),
        ("Connection: te", "TE: gzip"),
        ("Transfer-Encoding: chunked", "Connection: transfer-encoding"),
        ("Proxy-Authorization: Basic eDp5",),
        ("Trailer: X-T",),
    ],
)
@ensureDeferred
async def test_rc_o05_1_however_it_is_written(stage: Stage, lines: tuple[str, ...]) -> None:
    origin = await stage.origin()
    await stage.serve(simple(origin))
    client = await stage.client()
    client.send(
        ("POST / HTTP/1.1\r\nHost: gw.test\r\n" + "".join(f"{line}\r\n" for line in lines) + "\r\n").encode()
    )
    if "Transfer-Encoding: chunked" in lines:
        client.send(b"0\r\n\r\n")
    assert (await client.answer()).status == 200
    left = set(origin.last.names) - OWN
    assert left <= {"transfer-encoding", "content-length", "proxy-authorization", "trailer"}, left
    assert "x-hop" not in left


@ensureDeferred
async def test_rc_o05_2_connection_cannot_take_out_what_the_gateway_adds(stage: Stage) -> None:
    origin = await stage.origin()
    flow = steps(
        step("api-key", header="X-Key", forward={"consumer": "X-User"}),
        step("set-headers", set={"X-Tier": "gold"}),
    )
    consumers = [{"name": "acme", "api_keys": [{"sha256": hashlib.sha256(b"k1").hexdigest()}]}]
    await stage.serve(simple(origin, api(pre_flow=flow), consumers=consumers))
    named = "Connection: X-User, X-Tier, X-Forwarded-For, Via, Host"
    answer = await stage.ask("GET", "/", named, "X-Key: k1", "X-User: boss", "X-Tier: lead")
    assert answer.status == 200
    asked = origin.last
    assert (asked.get("x-user"), asked.get("x-tier"), asked.get("x-forwarded-for")) == (
        "acme",
        "gold",
        "127.0.0.1",
    )
    assert asked.get("via") == "1.1 apigateway"
    assert asked.get("host") == f"127.0.0.1:{origin.port}"


@ensureDeferred
async def test_rc_o05_3_the_same_holds_for_responses(stage: Stage) -> None:
    def hop(asked: Asked) -> None:
        asked.answer(
            200,
            b"ok",
            "Connection: X-Up, keep-alive",
            "X-Up: 1",
            "X-Down: 2",
            "Keep-Alive: timeout=9",
            "Upgrade: h2c",
            "Proxy-Connection: close",
            "X-Added-By-Us: no",
        )

    origin = await stage.origin(hop)
    add = steps(response=(step("set-headers", set={"X-Up": "ours"}),))
    await stage.serve(
        simple(origin, api(name="bare", base_path="/bare"), api(name="set", base_path="/set", pre_flow=add))
    )
    client = await stage.client()
    answer = await client.ask("GET", "/bare")
    assert _without(answer, "x-added-by-us") == {"x-down", "content-length", "date"}
    assert (await client.ask("GET", "/set")).get("x-up") == "ours"
    assert len(origin.connections) == 1


def _without(answer: Answer, *names: str) -> set[str]:
    return set(answer.names) - set(names)
