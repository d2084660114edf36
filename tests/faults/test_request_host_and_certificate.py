"""Fault 9: a connection that was opened for one name is no way to another that asks for other certificates."""

from __future__ import annotations

from typing import Any

import pytest
from pytest_twisted import ensureDeferred
from toolkit.authority import Authority
from toolkit.client import request
from toolkit.settings import Settings, api, route, simple
from toolkit.stage import Stage

FOREIGN = ["b.test", "B.TEST", "b.test:443", "x.b.test", "a.test.b.test", "nobody.test", "127.0.0.1", "[::1]"]


def listener(*pairs: dict[str, str], **tls: Any) -> Settings:
    """A listener over TLS."""
    return {"listeners": [{"name": "secure", "address": "127.0.0.1:0", "tls": {"certificates": list(pairs), **tls}}]}


def hosts() -> tuple[Settings, Settings]:
    """Two Apis, each of a host of its own."""
    return (
        api(route(), name="a", hosts=["a.test"]),
        api(route(), name="b", hosts=["b.test", "*.b.test"]),
    )


@pytest.mark.parametrize("mode", ["request", "require"])
@ensureDeferred
async def test_9_where_certificates_of_clients_matter_another_host_is_misdirected(
    stage: Stage, authority: Authority, mode: str
) -> None:
    origin = await stage.origin()
    pairs = [authority.pair(stage.folder, "a", "a.test"), authority.pair(stage.folder, "b", "b.test", "*.b.test")]
    auth = {"mode": mode, "ca": str(authority.file)}
    await stage.serve(simple(origin, *hosts(), **listener(*pairs, client_auth=auth)))
    client = await stage.client(tls=authority.client("client.test"), server_name="a.test")
    assert (await client.ask("GET", "/", host="a.test")).status == 200
    for host in FOREIGN:
        answer = await client.ask("GET", "/foreign", host=host)
        assert (answer.status, answer.kind) == (421, "misdirected"), host
        # The target names the host where it is absolute, and the field does not help it.
        answer = await client.ask("GET", f"https://{host}/foreign", host="a.test")
        assert answer.status == 421, host
        if answer.get("connection") == "close":
            client.close()
            client = await stage.client(tls=authority.client("client.test"), server_name="a.test")
    # Nothing of it is kept: the same connection serves its own name on.
    assert (await client.ask("GET", "/", host="a.test")).status == 200
    assert {asked.target for asked in origin.asked} == {"/"}


@ensureDeferred
async def test_9_a_body_behind_a_misdirected_request_is_no_request(stage: Stage, authority: Authority) -> None:
    origin = await stage.origin()
    pairs = [authority.pair(stage.folder, "a", "a.test"), authority.pair(stage.folder, "b", "b.test")]
    auth = {"mode": "require", "ca": str(authority.file)}
    await stage.serve(simple(origin, *hosts(), **listener(*pairs, client_auth=auth)))
    client = await stage.client(tls=authority.client("client.test"), server_name="a.test")
    smuggled = request("GET", "/smuggled", host="a.test")
    client.send(request("POST", "/", f"Content-Length: {len(smuggled)}", host="b.test"))
    answer = await client.answer()
    assert (answer.status, answer.get("connection")) == (421, "close")
    client.send(smuggled)
    await client.gone()
    assert (client.unread, origin.asked) == (b"", [])


@ensureDeferred
async def test_9_a_listener_does_not_serve_a_name_that_no_api_has(stage: Stage, authority: Authority) -> None:
    origin = await stage.origin()
    pair = authority.pair(stage.folder, "a", "a.test", "b.test")
    await stage.serve(simple(origin, *hosts(), **listener(pair)))
    client = await stage.client(tls=authority.client(), server_name="a.test")
    for host in ("nobody.test", "127.0.0.1", "a.test.evil.test"):
        answer = await client.ask("GET", "/", host=host)
        assert answer.status in (404, 421), host
    assert origin.connections == []
    # One certificate for both, and no rule that differs: a browser may use the connection for both.
    assert [(await client.ask("GET", "/", host=host)).status for host in ("a.test", "b.test")] == [200, 200]
