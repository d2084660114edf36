"""Faults 15 and 16: what is for one hop ends there, and nobody passes for another by what he writes or names."""

from __future__ import annotations

import hashlib
from typing import Any

import pytest
from pytest_twisted import ensureDeferred
from toolkit.origin import Asked, Origin
from toolkit.settings import Settings, api, simple, step, steps
from toolkit.stage import Stage

# What the gateway tells every origin.
OWN = {"host", "via", "x-forwarded-for", "x-forwarded-host", "x-forwarded-port", "x-forwarded-proto"}
FORWARDED = ("x-forwarded-for", "x-forwarded-host", "x-forwarded-port", "x-forwarded-proto", "via", "host")
HOP = {
    "Keep-Alive": "timeout=5", "Proxy-Connection": "keep-alive", "TE": "gzip", "Upgrade": "h2c", "X-Named": "1",
    "HTTP2-Settings": "AAMA", "Proxy-Authenticate": "Basic",
}  # fmt: skip


def told(asked: Asked) -> dict[str, list[str]]:
    """What the gateway says of the client, by field."""
    return {name: asked.all(name) for name in FORWARDED}


def identified() -> tuple[Settings, dict[str, Any]]:
    """An Api that tells the origin who calls and what tier that is, and the consumer that it knows."""
    flow = steps(
        step("api-key", header="X-Key", forward={"consumer": "X-Consumer-Name", "roles": "X-Consumer-Roles"}),
        step("set-headers", set={"X-Tier": "gold"}, remove=["X-Internal"]),
    )
    keys = [{"sha256": hashlib.sha256(b"k1").hexdigest()}]
    return api(pre_flow=flow), {"consumers": [{"name": "acme", "roles": ["user"], "api_keys": keys}]}


async def serve_identified(stage: Stage) -> Origin:
    one, consumers = identified()
    origin = await stage.origin()
    await stage.serve(simple(origin, one, **consumers))
    return origin


# ---- 15


@pytest.mark.parametrize(
    "connection",
    ["keep-alive, {}", "{},keep-alive", " ,, {} ,", "{}", "close, {}"],
)
@ensureDeferred
async def test_15_fields_of_this_hop_and_those_that_connection_names_end_here(stage: Stage, connection: str) -> None:
    async def hop(asked: Asked) -> None:
        await asked.read()
        lines = [f"{name}: {value}" for name, value in HOP.items() if name != "TE"]
        asked.answer(200, b"ok", "Connection: x-named, Http2-Settings", "X-Kept: 2", *lines)

    origin = await stage.origin(hop)
    await stage.serve(simple(origin))
    lines = [f"{name}: {value}" for name, value in HOP.items()]
    answer = await stage.ask(
        "GET", "/", f"Connection: {connection.format('x-NAMED, HTTP2-settings')}", *lines, "X-Kept: 1"
    )
    assert answer.status == 200
    assert set(origin.last.names) - OWN - {"proxy-authenticate"} == {"x-kept"}
    assert set(answer.names) - {"date", "content-length", "connection", "proxy-authenticate"} == {"x-kept"}
    assert (answer.get("connection") or "close") == "close"


STRIPPED = [
    "authorization", "cookie", "content-type", "content-length", "transfer-encoding", "host", "via", "x-forwarded-for",
    "x-forwarded-host", "x-forwarded-proto", "x-forwarded-port", "x-consumer-name", "x-consumer-roles", "x-tier",
    "x-key", "te", "connection", "keep-alive",
]  # fmt: skip


@ensureDeferred
async def test_15_naming_a_field_takes_nothing_out_that_the_gateway_says(stage: Stage) -> None:
    origin = await serve_identified(stage)
    assert (await stage.ask("POST", "/", "X-Key: k1", body=b"hello")).status == 200
    right, body = told(origin.last), origin.last.body
    for name in STRIPPED:
        # X-Key is what the client says to the gateway: whom it names there, it does not take from itself.
        answer = await stage.ask("POST", "/", f"Connection: {name}", "X-Key: k1", body=b"hello")
        if answer.status != 200:
            assert (name, answer.status) == ("x-key", 401), name
            continue
        asked = origin.last
        assert (told(asked), asked.body) == (right, body), name
        assert (asked.get("x-consumer-name"), asked.get("x-consumer-roles"), asked.get("x-tier")) == (
            "acme",
            "user",
            "gold",
        ), name


@ensureDeferred
async def test_15_a_client_cannot_make_the_gateway_forget_credentials_it_checks(stage: Stage) -> None:
    """An Api that asks for Authorization: naming it must not turn a refused request into a good one."""
    origin = await stage.origin()
    guard = {**step("mock", status=403, body="no"), "when": 'request.headers["authorization"] == ""'}
    await stage.serve(simple(origin, api(pre_flow=steps(guard))))
    answer = await stage.ask("GET", "/", "Connection: authorization", "Authorization: Bearer x")
    # Whatever the gateway takes it for: the origin never gets a request that was let through for a field it lacks.
    if answer.status == 200:
        assert origin.last.get("authorization") == "Bearer x"
    else:
        assert (answer.status, origin.asked) == (403, [])


# ---- 16

CLAIMS = [
    "X-Forwarded-For: 9.9.9.9",
    "X-Forwarded-Host: evil.test",
    "X-Forwarded-Proto: https",
    "X-Forwarded-Port: 1",
    "X-Real-IP: 9.9.9.9",
    "Forwarded: for=9.9.9.9;host=evil.test;proto=https",
    "X-Consumer-Name: boss",
    "X-Consumer-Roles: admin",
    "X-Tier: platinum",
    "X-Internal: yes",
]


def spelt(claim: str, how: str) -> str:
    """A field in another spelling that servers take for the same one."""
    name, _, value = claim.partition(":")
    spellings = {
        "as it is": name,
        "low": name.lower(),
        "HIGH": name.upper(),
        "under_scores": name.replace("-", "_"),
        "under_score-mixed": name.replace("-", "_", 1),
        "UNDER_SCORES": name.replace("-", "_").upper(),
    }
    return f"{spellings[how]}:{value}"


@pytest.mark.parametrize(
    "how", ["as it is", "low", "HIGH", "under_scores", "under_score-mixed", "UNDER_SCORES"]
)
@ensureDeferred
async def test_16_nobody_passes_for_another(stage: Stage, how: str) -> None:
    origin = await serve_identified(stage)
    assert (await stage.ask("GET", "/", "X-Key: k1")).status == 200
    right = told(origin.last)
    assert (await stage.ask("GET", "/", "X-Key: k1", *(spelt(claim, how) for claim in CLAIMS))).status == 200
    asked = origin.last
    assert told(asked) == right
    # As a server of CGI's or WSGI's kind reads them: one name, whichever way it is written.
    read: dict[str, list[str]] = {}
    for name, value in asked.fields:
        read.setdefault(name.replace("_", "-"), []).append(value)
    assert read["x-forwarded-for"] == ["127.0.0.1"]
    assert (read["x-consumer-name"], read["x-consumer-roles"], read["x-tier"]) == (["acme"], ["user"], ["gold"])
    for name in ("x-real-ip", "forwarded", "x-internal"):
        assert name not in read, name
    assert all("9.9.9.9" not in value and "evil" not in value for values in read.values() for value in values)


@pytest.mark.parametrize("how", ["as it is", "under_scores"])
@ensureDeferred
async def test_16_nor_behind_the_body_as_a_trailer(stage: Stage, how: str) -> None:
    origin = await serve_identified(stage)
    client = await stage.client()
    head = "POST / HTTP/1.1\r\nHost: gw.test\r\nX-Key: k1\r\nTransfer-Encoding: chunked\r\nTrailer: X-Sum\r\n\r\n"
    trailers = "".join(f"{spelt(claim, how)}\r\n" for claim in CLAIMS)
    client.send(f"{head}5\r\nhello\r\n0\r\n{trailers}X-Sum: 1\r\n\r\n".encode())
    assert (await client.answer()).status == 200
    assert origin.last.body == b"hello"
    assert {name.replace("_", "-") for name, _ in origin.last.trailers} <= {"x-sum"}


@ensureDeferred
async def test_16_without_an_identity_the_fields_of_one_do_not_pass_either(stage: Stage) -> None:
    origin = await stage.origin()
    flow = steps(step("api-key", header="X-Key", anonymous=True, forward={"consumer": "X-Consumer-Name"}))
    await stage.serve(simple(origin, api(pre_flow=flow)))
    for how in ("as it is", "under_scores", "UNDER_SCORES"):
        assert (await stage.ask("GET", "/", spelt("X-Consumer-Name: boss", how))).status == 200
        assert not [name for name in origin.last.names if name.replace("_", "-") == "x-consumer-name"], how
