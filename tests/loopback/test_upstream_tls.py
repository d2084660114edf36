"""TLS towards targets: who they are is verified, unless an operator says otherwise where everybody sees it."""

from __future__ import annotations

import ssl
from typing import Any

import pytest
from pytest_twisted import ensureDeferred
from toolkit.authority import Authority
from toolkit.origin import Origin
from toolkit.settings import Settings, api
from toolkit.stage import Stage


def secured(origin: Origin, **tls: Any) -> Settings:
    """An upstream over TLS."""
    one = {
        "name": "up",
        "targets": [{"url": origin.url, "name": "one"}],
        "tls": tls,
        "retry": {"attempts": 1},
    }
    return {"upstreams": [one], "apis": [api()]}


@ensureDeferred
async def test_a_target_that_its_ca_vouches_for_is_served_and_its_connection_kept(
    stage: Stage, authority: Authority
) -> None:
    origin = await stage.origin(tls=authority.server("127.0.0.1"))
    await stage.serve(secured(origin, ca=str(authority.file)))
    client = await stage.client()
    for _ in range(3):
        assert (await client.ask("GET", "/")).status == 200
    assert len(origin.connections) == 1
    assert (await client.ask("POST", "/", body=b"x" * 300_000)).status == 200
    assert origin.last.body == b"x" * 300_000


@pytest.mark.parametrize(
    ("names", "trusted", "settings", "status"),
    [
        pytest.param(["127.0.0.1"], False, {}, 502, id="unknown-ca"),
        pytest.param(["other.test"], True, {}, 502, id="wrong-name"),
        pytest.param(["other.test"], True, {"server_name": "other.test"}, 200, id="named"),
        pytest.param(["127.0.0.1"], False, {"verify": False}, 200, id="verify-off"),
        pytest.param(["other.test"], True, {"verify": False}, 200, id="verify-off-wrong-name"),
    ],
)
@ensureDeferred
async def test_verification(
    stage: Stage, authority: Authority, names: list[str], trusted: bool, settings: dict[str, Any], status: int
) -> None:
    signer = authority if trusted else Authority(stage.folder)
    origin = await stage.origin(tls=signer.server(*names))
    gateway = await stage.serve(secured(origin, ca=str(authority.file), **settings))
    answer = await stage.ask("POST", "/", body=b"payment")
    assert answer.status == status
    assert gateway.worker.status()["unverified_upstreams"] == (
        ["up"] if settings.get("verify") is False else []
    )
    assert gateway.worker.upstreams()[0]["verified"] == settings.get("verify", True)
    if status == 502:
        assert answer.kind == "tls-failed"
        assert (origin.asked, answer.get("proxy-status")) == ([], "apigateway; error=tls_certificate_error")


@ensureDeferred
async def test_a_target_that_does_not_speak_tls(stage: Stage, authority: Authority) -> None:
    origin = await stage.origin()
    origin.scheme, origin.greeting = "https", b"220 mail.example.test ESMTP\r\n"
    await stage.serve(secured(origin, ca=str(authority.file)))
    answer = await stage.ask("GET", "/")
    assert (answer.status, answer.kind) == (502, "tls-failed")


@pytest.mark.parametrize("shown", [True, False])
@ensureDeferred
async def test_a_client_certificate_is_shown_to_a_target_that_asks(
    stage: Stage, authority: Authority, shown: bool
) -> None:
    context = authority.server("127.0.0.1")
    context.verify_mode = ssl.CERT_REQUIRED
    authority.ca.configure_trust(context)
    origin = await stage.origin(tls=context)
    pair = {"certificate": authority.pair(stage.folder, "gw", "gateway.test")} if shown else {}
    await stage.serve(secured(origin, ca=str(authority.file), **pair))
    assert (await stage.ask("GET", "/")).status == (200 if shown else 502)
    if shown:
        peer = origin.connections[0].transport.get_extra_info("ssl_object").getpeercert()
        assert ("DNS", "gateway.test") in peer["subjectAltName"]


@ensureDeferred
async def test_pools_are_apart_where_what_they_verify_is_apart(stage: Stage, authority: Authority) -> None:
    origin = await stage.origin(tls=authority.server("127.0.0.1"))
    gateway = await stage.serve(secured(origin, ca=str(authority.file)))
    assert (await stage.ask("GET", "/")).status == 200
    # The kept connection was made under another rule; the new one does not hold any more.
    gateway.write(secured(origin, ca=str(authority.file), server_name="other.test"))
    assert (await gateway.reload())["taken"]
    assert (await stage.ask("GET", "/")).status == 502
    gateway.write(secured(origin, ca=str(authority.file)))
    assert (await gateway.reload())["taken"]
    assert (await stage.ask("GET", "/")).status == 200
