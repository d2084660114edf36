"""RC-O17, RC-O18: certificates that are renewed on disk, and which one is shown to whom."""

from __future__ import annotations

import os
import ssl
from typing import Any

import pytest
from cryptography import x509
from pytest_twisted import ensureDeferred
from toolkit.authority import Authority, blind_client, names_of, served_certificate, write_pair
from toolkit.client import request
from toolkit.origin import Asked
from toolkit.settings import Settings, simple
from toolkit.stage import Stage
from toolkit.waiting import until


def secure(*pairs: dict[str, str], **tls: Any) -> Settings:
    """A listener over TLS that looks at its files every 50 ms."""
    settings = {"certificates": list(pairs), "check_files": "50ms", **tls}
    return {"listeners": [{"name": "secure", "address": "127.0.0.1:0", "tls": settings}]}


async def shown(stage: Stage, name: str | None, tls: ssl.SSLContext | None = None) -> x509.Certificate:
    """The certificate that a new handshake shows."""
    client = await stage.client(tls=tls or blind_client(), server_name=name or "")
    certificate = served_certificate(client.transport.get_extra_info("ssl_object"))
    client.close()
    return certificate


async def serial_of(stage: Stage, name: str) -> int:
    return (await shown(stage, name)).serial_number


# ---- RC-O17


@pytest.mark.parametrize("how", ["reload", "wait"])
@ensureDeferred
async def test_rc_o17_a_renewed_certificate_is_served_and_a_download_goes_on(
    stage: Stage, authority: Authority, how: str
) -> None:
    async def download(asked: Asked) -> None:
        asked.send(b"HTTP/1.1 200 OK\r\nContent-Length: 4\r\n\r\nbe")
        await until(lambda: go)
        asked.send(b"en")

    go: list[int] = []
    origin = await stage.origin(download)
    a = authority.pair(stage.folder, "a", "a.test")
    b = authority.pair(stage.folder, "b", "b.test")
    settings = simple(origin, **secure(a, b, check_files="50ms" if how == "wait" else "1h"))
    gateway = await stage.serve(settings)
    old, other = await serial_of(stage, "a.test"), await serial_of(stage, "b.test")
    client = await stage.client(tls=authority.client(), server_name="a.test")
    client.send(request("GET", "/", host="a.test"))
    await client.past(b"be")

    authority.pair(stage.folder, "a", "a.test")
    if how == "reload":
        assert (await gateway.reload())["taken"]
        assert await serial_of(stage, "a.test") != old
    else:
        event = await gateway.event("certificate in use", names=["a.test"])
        assert int(event["serial"], 16) == await serial_of(stage, "a.test") != old
    assert await serial_of(stage, "b.test") == other
    go.append(1)
    assert await client.exactly(2) == b"en"
    assert (await client.ask("GET", "/", host="a.test")).status == 200


@pytest.mark.parametrize("how", ["reload", "wait"])
@ensureDeferred
async def test_rc_o17_a_key_that_does_not_belong_is_refused_and_the_old_pair_stays(
    stage: Stage, authority: Authority, how: str
) -> None:
    origin = await stage.origin()
    a, b = (authority.pair(stage.folder, name, f"{name}.test") for name in "ab")
    gateway = await stage.serve(simple(origin, **secure(a, b, check_files="50ms" if how == "wait" else "1h")))
    old, other = await serial_of(stage, "a.test"), await serial_of(stage, "b.test")
    write_pair(stage.folder, "a", authority.issue("a.test"), authority.issue("a.test"))
    if how == "reload":
        result = await gateway.reload()
        assert not result["taken"] and any("does not belong" in problem for problem in result["problems"])
    else:
        event = await gateway.event("renewed certificate refused")
        assert (
            event["level"] == "error"
            and "does not belong" in event["why"]
            and event["file"].endswith("a.pem")
        )
        assert 'apigateway_certificates_refused_total{listener="secure"} 1.0' in await exposition(stage)
    assert (await serial_of(stage, "a.test"), await serial_of(stage, "b.test")) == (old, other)
    client = await stage.client(tls=authority.client(), server_name="a.test")
    assert (await client.ask("GET", "/", host="a.test")).status == 200
    # Another name's renewal is taken all the same; and a.test's when it is whole again.
    if how == "wait":
        authority.pair(stage.folder, "b", "b.test")
        await gateway.event("certificate in use", names=["b.test"])
        assert await serial_of(stage, "b.test") != other
        whole = authority.pair(stage.folder, "a", "a.test")
        assert whole == a
        await gateway.event("certificate in use", names=["a.test"])
        assert await serial_of(stage, "a.test") != old


async def exposition(stage: Stage) -> str:
    text: bytes = stage.gateway.service.metrics.exposition()
    return text.decode()


@pytest.mark.parametrize("content", [None, b"", b"not a certificate"])
@ensureDeferred
async def test_rc_o17_a_file_that_is_gone_or_no_certificate_leaves_the_old_one(
    stage: Stage, authority: Authority, content: bytes | None
) -> None:
    origin = await stage.origin()
    a = authority.pair(stage.folder, "a", "a.test")
    gateway = await stage.serve(simple(origin, **secure(a)))
    old = await serial_of(stage, "a.test")
    if content is None:
        os.unlink(a["cert"])
    else:
        (stage.folder / "a.pem").write_bytes(content)
    await gateway.event("renewed certificate refused")
    assert await serial_of(stage, "a.test") == old
    authority.pair(stage.folder, "a", "a.test")
    await gateway.event("certificate in use", names=["a.test"])
    assert await serial_of(stage, "a.test") != old


@pytest.mark.parametrize("how", ["start", "reload", "wait"])
@ensureDeferred
async def test_rc_o17_an_expired_certificate_is_flagged_loudly(
    stage: Stage, authority: Authority, how: str
) -> None:
    origin = await stage.origin()
    a = authority.pair(stage.folder, "a", "a.test", expired=how == "start")
    gateway = await stage.serve(simple(origin, **secure(a, check_files="50ms" if how == "wait" else "1h")))
    if how != "start":
        authority.pair(stage.folder, "a", "a.test", expired=True)
    if how == "reload":
        await gateway.reload()
    event = await gateway.event("certificate expired", names=["a.test"])
    assert event["level"] == "warn"
    certificate = await shown(stage, "a.test")
    assert f"{certificate.not_valid_after_utc.timestamp():.1f}" in _number(await exposition(stage))


def _number(text: str) -> str:
    lines = [
        line for line in text.splitlines() if line.startswith("apigateway_certificate_not_after_seconds{")
    ]
    assert len(lines) == 1 and 'listener="secure"' in lines[0] and 'name="a.test"' in lines[0]
    return f"{float(lines[0].split()[-1]):.1f}"


@ensureDeferred
async def test_rc_o17_a_broken_pair_at_the_start_is_an_error_before_anything_listens(
    stage: Stage, authority: Authority
) -> None:
    from apigateway.errors import ConfigurationRefused

    origin = await stage.origin()
    pair = write_pair(stage.folder, "a", authority.issue("a.test"), authority.issue("a.test"))
    stage.gateway.write(simple(origin, **secure(pair)))
    with pytest.raises(ConfigurationRefused, match="does not belong"):
        await stage.gateway.start()


# ---- RC-O18

# server name, certificate with strict SNI off (D is the default), the same with it on
HELLOS = [
    (None, "d.test", None),
    ("c.test", "d.test", None),
    ("x.b.test", "*.b.test", "*.b.test"),
    ("x.y.b.test", "d.test", None),
    ("b.test", "d.test", None),
    ("A.TEST", "a.test", "a.test"),
    ("a.test", "a.test", "a.test"),
    ("xa.test", "d.test", None),
]


@pytest.mark.parametrize("strict", [False, True])
@ensureDeferred
async def test_rc_o18_each_name_gets_its_certificate_and_no_other(
    stage: Stage, authority: Authority, strict: bool
) -> None:
    origin = await stage.origin()
    names = {"d": "d.test", "a": "a.test", "b": "*.b.test"}
    pairs = [authority.pair(stage.folder, file, name) for file, name in names.items()]
    await stage.serve(simple(origin, **secure(*pairs, strict_sni=strict)))
    for server_name, lax, strictly in HELLOS:
        expected = strictly if strict else lax
        if expected is None:
            with pytest.raises((ssl.SSLError, ConnectionError)) as refused:
                await shown(stage, server_name)
            assert "UNRECOGNIZED_NAME" in str(refused.value) or isinstance(refused.value, ConnectionError)
        else:
            assert names_of(await shown(stage, server_name)) == [expected], server_name
    assert stage.gateway.worker.bound[0].listener.connections == set() or not origin.asked


@ensureDeferred
async def test_rc_o18_requests_are_served_over_a_verified_connection_and_say_so(
    stage: Stage, authority: Authority
) -> None:
    origin = await stage.origin()
    pairs = [authority.pair(stage.folder, "a", "a.test"), authority.pair(stage.folder, "b", "*.b.test")]
    await stage.serve(simple(origin, **secure(*pairs)))
    for name in ("a.test", "x.b.test"):
        answer = await stage.ask("GET", "/", host=name, tls=authority.client(), server_name=name)
        assert answer.status == 200
        assert origin.last.get("x-forwarded-proto") == "https"
        assert origin.last.get("x-forwarded-host") == name
    # Without client certificates one connection may serve all names (RFC 9110 7.4 leaves it to us).
    assert (
        await stage.ask("GET", "/", host="a.test", tls=authority.client(), server_name="x.b.test")
    ).status == 200
    line = await stage.gateway.line()
    assert (line["scheme"], line["tls"]) == ("https", "TLSv1.3")


# ---- client certificates


def mutual(authority: Authority, mode: str) -> dict[str, Any]:
    return {"client_auth": {"mode": mode, "ca": str(authority.file)}}


@ensureDeferred
async def test_rc_o18_with_client_certificates_a_request_for_another_name_is_misdirected(
    stage: Stage, authority: Authority
) -> None:
    origin = await stage.origin()
    pairs = [authority.pair(stage.folder, "a", "a.test"), authority.pair(stage.folder, "b", "*.b.test")]
    await stage.serve(simple(origin, **secure(*pairs, **mutual(authority, "require"))))

    async def status(sni: str, host: str) -> int:
        tls = authority.client("client.test")
        return (await stage.ask("GET", "/", host=host, tls=tls, server_name=sni)).status

    assert await status("a.test", "a.test") == 200
    assert await status("a.test", "A.test:443") == 200
    assert await status("x.b.test", "y.b.test") == 200
    assert await status("a.test", "x.b.test") == 421
    assert await status("x.b.test", "a.test") == 421
    assert await status("x.b.test", "x.y.b.test") == 421
    assert len(origin.asked) == 3


@pytest.mark.parametrize("mode", ["require", "request"])
@ensureDeferred
async def test_rc_o18_the_rule_for_client_certificates_holds_for_every_name(
    stage: Stage, authority: Authority, mode: str
) -> None:
    origin = await stage.origin()
    pairs = [authority.pair(stage.folder, "a", "a.test"), authority.pair(stage.folder, "b", "*.b.test")]
    await stage.serve(simple(origin, **secure(*pairs, **mutual(authority, mode))))
    stranger = Authority(stage.folder)

    async def served(name: str, identity: str) -> bool:
        tls = authority.client("client.test" if identity == "good" else None)
        if identity == "stranger":
            stranger.issue("client.test").configure_cert(tls)
        tls.check_hostname = False
        tls.verify_mode = ssl.CERT_NONE
        try:
            return (await stage.ask("GET", "/", host="a.test", tls=tls, server_name=name)).status in (
                200,
                421,
            )
        except (ssl.SSLError, ConnectionError, EOFError):
            return False
        except Exception as error:
            # TLS 1.3: the client is through first, and learns by an alert that it is not.
            assert type(error).__name__ == "Closed", error
            return False

    for name in ("a.test", "x.b.test", "c.test", ""):
        assert await served(name, "good"), name
        assert await served(name, "none") == (mode == "request"), name
        assert not await served(name, "stranger"), name


@ensureDeferred
async def test_plain_http_on_a_tls_port_and_a_handshake_that_never_ends_harm_nobody(
    stage: Stage, authority: Authority
) -> None:
    origin = await stage.origin()
    await stage.serve(simple(origin, **secure(authority.pair(stage.folder, "a", "a.test"))))
    silent, plain = await stage.client(), await stage.client()
    plain.send(request("GET", "/"))
    silent.send(b"\x16\x03\x01")
    await plain.gone()
    answer = await stage.ask("GET", "/", host="a.test", tls=authority.client(), server_name="a.test")
    assert answer.status == 200
    assert len(origin.asked) == 1


@ensureDeferred
async def test_answers_and_uploads_over_tls_end_as_over_plain_tcp(stage: Stage, authority: Authority) -> None:
    async def refuse(asked: Asked) -> None:
        asked.answer(413, b"no")

    origin = await stage.origin(refuse)
    await stage.serve(simple(origin, **secure(authority.pair(stage.folder, "a", "a.test"))))
    client = await stage.client(tls=authority.client(), server_name="a.test")
    client.send(b"POST / HTTP/1.1\r\nHost: a.test\r\nContent-Length: 100000\r\n\r\n" + b"x" * 1000)
    answer = await client.answer()
    assert (answer.status, answer.get("connection")) == (413, "close")
    await client.gone(within=3.0)
    other = await stage.client(tls=authority.client(), server_name="a.test")
    assert (await other.ask("GET", "/", "Connection: close", host="a.test")).status == 413
    await other.gone(within=1.0)
