"""The PROXY protocol in front of a gateway: the client it names is the client for logs, policies and upstreams.

127.2.0.0/16 are balancers that speak it; anybody else is a client.
"""

from __future__ import annotations

import socket
import ssl
import struct
from ipaddress import ip_address
from typing import Any

import pytest
from pytest_twisted import ensureDeferred
from toolkit.authority import Authority, blind_client, names_of, served_certificate
from toolkit.client import Client, request
from toolkit.settings import Settings, api, simple, step, steps
from toolkit.stage import Stage
from toolkit.stream import Closed
from toolkit.waiting import PATIENCE, event_loop, on_loop, reactor, together, turn, until
from twisted.internet.defer import Deferred

BALANCER, OTHER = "127.2.0.1", "127.1.0.9"
CLIENT, REACHED = ("198.51.100.7", 4711), ("203.0.113.1", 8443)
SIGNATURE = b"\r\n\r\n\0\r\nQUIT\n"


def proxied(trusted: tuple[str, ...] = ("127.2.0.0/16",), timeout: str = "30s", **listener: Any) -> Settings:
    settings = {"name": "public", "address": "127.0.0.1:0", **listener}
    return {"listeners": [{**settings, "proxy_protocol": {"trusted": list(trusted), "timeout": timeout}}]}


def v1(client: tuple[str, int] = CLIENT, reached: tuple[str, int] = REACHED) -> bytes:
    family = 6 if ":" in client[0] else 4
    return f"PROXY TCP{family} {client[0]} {reached[0]} {client[1]} {reached[1]}\r\n".encode()


def v2(client: tuple[str, int] = CLIENT, reached: tuple[str, int] = REACHED, tlvs: bytes = b"") -> bytes:
    family = b"\x21" if ":" in client[0] else b"\x11"
    packed = b"".join(ip_address(ip).packed for ip, _ in (client, reached))
    block = packed + struct.pack("!HH", client[1], reached[1]) + tlvs
    return SIGNATURE + b"\x21" + family + struct.pack("!H", len(block)) + block


LOCAL = SIGNATURE + b"\x20\0\0\0"
# TLS that ended at the balancer, with a client certificate: nothing of it is taken for a fact about this connection.
TLS_TLV = b"\x20\0\x10\7\0\0\0\0\x22\0\x08evil.com"


async def through(
    stage: Stage, header: bytes, *, source: str = BALANCER, tls: ssl.SSLContext | None = None, name: str | None = None
) -> Client:
    """A connection by way of a balancer."""
    connection = dial(stage, header, source)
    loop = event_loop()
    _, client = await on_loop(loop.create_connection(Client, sock=connection, ssl=tls, server_hostname=name))
    stage._clients.append(client)
    return client  # type: ignore[no-any-return]


def dial(stage: Stage, header: bytes = b"", source: str = BALANCER) -> socket.socket:
    """A socket that has sent something; the kernel takes it, so that nothing has to run meanwhile."""
    connection = socket.create_connection(stage.gateway.address(), timeout=PATIENCE, source_address=(source, 0))
    connection.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, True)
    connection.sendall(header)
    connection.setblocking(False)
    return connection


async def ended(client: Client) -> bytes:
    """What came before the gateway closed."""
    await client.gone()
    return bytes(client.record)


def refused(stage: Stage) -> float:
    lines = stage.gateway.service.metrics.exposition().decode().splitlines()
    found = [line for line in lines if line.startswith("apigateway_proxy_headers_refused_total{")]
    assert [line.split("{")[1].split("}")[0] for line in found] == ['listener="public"']
    return float(found[0].split()[-1])


# ---- whose request it is


@pytest.mark.parametrize("header", [v1(), v2(), v2(tlvs=TLS_TLV)], ids=["v1", "v2", "v2 with TLVs"])
@ensureDeferred
async def test_upstream_and_log_see_the_client_and_the_port_it_reached(stage: Stage, header: bytes) -> None:
    origin = await stage.origin()
    await stage.serve(simple(origin, up={"forwarded": "both"}, **proxied()))
    client = await through(stage, header)
    for _ in range(2):
        assert (await client.ask("GET", "/", "X-Forwarded-For: 1.2.3.4")).status == 200
        assert origin.last.get("x-forwarded-for") == "198.51.100.7"
        assert origin.last.get("x-forwarded-port") == "8443"
        assert origin.last.get("x-forwarded-proto") == "http"
        assert origin.last.get("forwarded") == "for=198.51.100.7;host=gw.test;proto=http"
    line = await stage.gateway.line()
    assert line["client"] == "198.51.100.7"
    assert refused(stage) == 0


@ensureDeferred
async def test_policies_go_by_the_client_and_not_by_the_balancer(stage: Stage) -> None:
    origin = await stage.origin()
    filtered = api(pre_flow=steps(step("ip-filter", allow=["198.51.100.0/24", "2001:db8::/32"])))
    await stage.serve(simple(origin, filtered, **proxied()))
    for ip, status in (
        ("198.51.100.7", 200), ("192.0.2.1", 403), ("2001:db8::1", 200), ("2001:db9::1", 403),
        ("::ffff:198.51.100.7", 200), (BALANCER, 403),
    ):
        reached = REACHED if ":" not in ip else ("2001:db8::80", 80)
        for header in (v1((ip, 1), reached), v2((ip, 1), reached)):
            client = await through(stage, header)
            assert (await client.ask("GET", "/")).status == status, ip


@ensureDeferred
async def test_ipv6_is_told_as_such(stage: Stage) -> None:
    origin = await stage.origin()
    await stage.serve(simple(origin, up={"forwarded": "both"}, **proxied()))
    client = await through(stage, v2(("2001:db8:0::0:1", 1), ("2001:db8::80", 80)))
    assert (await client.ask("GET", "/")).status == 200
    assert origin.last.get("x-forwarded-for") == "2001:db8::1"
    assert origin.last.get("forwarded") == 'for="[2001:db8::1]";host=gw.test;proto=http'


@ensureDeferred
async def test_trusted_proxies_are_compared_with_the_client_that_the_header_names(stage: Stage) -> None:
    origin = await stage.origin()
    # The balancer is in the list, too: that makes nobody behind it a proxy of ours.
    await stage.serve(simple(origin, trusted_proxies=["192.0.2.0/24", BALANCER], **proxied()))
    told = "X-Forwarded-For: 203.0.113.5"
    proxy = await through(stage, v1(("192.0.2.1", 1)))
    await proxy.ask("GET", "/", told)
    assert origin.last.get("x-forwarded-for") == "203.0.113.5, 192.0.2.1"
    client = await through(stage, v1())
    await client.ask("GET", "/", told)
    assert origin.last.get("x-forwarded-for") == "198.51.100.7"
    await until(lambda: len(stage.gateway.access()) == 2)
    assert [line["client"] for line in stage.gateway.access()] == ["203.0.113.5", "198.51.100.7"]


@pytest.mark.parametrize("header", [LOCAL, b"PROXY UNKNOWN\r\n", SIGNATURE + b"\x21\0\0\0"], ids=["local", "v1", "v2"])
@ensureDeferred
async def test_where_the_balancer_speaks_for_nobody_it_is_the_client(stage: Stage, header: bytes) -> None:
    origin = await stage.origin()
    gateway = await stage.serve(simple(origin, **proxied()))
    client = await through(stage, header)
    assert (await client.ask("GET", "/")).status == 200
    assert origin.last.get("x-forwarded-for") == BALANCER
    assert origin.last.get("x-forwarded-port") == str(gateway.address()[1])


# ---- how it arrives


@pytest.mark.parametrize("header", [v1(), v2()], ids=["v1", "v2"])
@ensureDeferred
async def test_header_and_requests_in_one_segment(stage: Stage, header: bytes) -> None:
    origin = await stage.origin()
    await stage.serve(simple(origin, **proxied()))
    client = await through(stage, header + request("GET", "/1") + request("POST", "/2", body=b"x" * 100_000))
    assert [(await client.answer()).status for _ in range(2)] == [200, 200]
    assert [(asked.target, asked.get("x-forwarded-for")) for asked in origin.asked] == [
        ("/1", CLIENT[0]), ("/2", CLIENT[0]),
    ]  # fmt: skip
    assert len(origin.last.body) == 100_000


@pytest.mark.parametrize("header", [v1(), v2()], ids=["v1", "v2"])
@ensureDeferred
async def test_octet_by_octet(stage: Stage, header: bytes) -> None:
    origin = await stage.origin()
    await stage.serve(simple(origin, **proxied()))
    client = await through(stage, b"")
    for at in range(len(header)):
        client.send(header[at : at + 1])
        await turn(0.001)
    assert (await client.ask("GET", "/")).status == 200
    assert origin.last.get("x-forwarded-for") == CLIENT[0]


# ---- TLS behind it


def secure(stage: Stage, authority: Authority, **tls: Any) -> Settings:
    pairs = [authority.pair(stage.folder, name, f"{name}.test") for name in "ab"]
    return proxied(tls={"certificates": pairs, **tls})


@pytest.mark.parametrize("header", [v1(), v2(tlvs=TLS_TLV)], ids=["v1", "v2"])
@ensureDeferred
async def test_tls_behind_it_with_the_certificate_of_the_name_asked_for(
    stage: Stage, authority: Authority, header: bytes
) -> None:
    origin = await stage.origin()
    await stage.serve(simple(origin, **secure(stage, authority)))
    for name in ("a.test", "b.test"):
        client = await through(stage, header, tls=authority.client(), name=name)
        assert names_of(served_certificate(client.transport.get_extra_info("ssl_object"))) == [name]
        assert (await client.ask("GET", "/", host=name)).status == 200
        assert origin.last.get("x-forwarded-for") == CLIENT[0]
        assert origin.last.get("x-forwarded-proto") == "https"
        line = await stage.gateway.line(lambda line: line["host"] == name)  # noqa: B023
        assert (line["client"], line["sni"], line["tls"]) == (CLIENT[0], name, "TLSv1.3")


@ensureDeferred
async def test_a_client_certificate_behind_it(stage: Stage, authority: Authority) -> None:
    origin = await stage.origin()
    seen = api(
        pre_flow=steps({"policy": "mock", "when": 'client.cert.fingerprint == ""', "with": {"status": 403}})
    )
    auth = {"mode": "request", "ca": str(authority.file)}
    await stage.serve(simple(origin, seen, **secure(stage, authority, client_auth=auth)))
    # A certificate that the header speaks of is none.
    header = v2(tlvs=TLS_TLV)
    for context, status in ((authority.client("me@test"), 200), (authority.client(), 403)):
        client = await through(stage, header, tls=context, name="a.test")
        assert (await client.ask("GET", "/", host="a.test")).status == status


@ensureDeferred
async def test_a_client_certificate_that_is_required_ends_the_handshake_of_who_has_none(
    stage: Stage, authority: Authority
) -> None:
    origin = await stage.origin()
    auth = {"mode": "require", "ca": str(authority.file)}
    await stage.serve(simple(origin, **secure(stage, authority, client_auth=auth)))
    client = await through(stage, v1(), tls=authority.client("me@test"), name="a.test")
    assert (await client.ask("GET", "/", host="a.test")).status == 200
    # With TLS 1.3 the client learns of it after its own end of the handshake.
    bare = await through(stage, v1(), tls=authority.client(), name="a.test")
    bare.send(request("GET", "/", host="a.test"))
    assert await ended(bare) == b""
    assert len(origin.asked) == 1


@ensureDeferred
async def test_who_is_no_balancer_speaks_tls_at_once(stage: Stage, authority: Authority) -> None:
    origin = await stage.origin()
    await stage.serve(simple(origin, **secure(stage, authority)))
    client = await through(stage, b"", source=OTHER, tls=authority.client(), name="a.test")
    assert (await client.ask("GET", "/", host="a.test")).status == 200
    assert origin.last.get("x-forwarded-for") == OTHER
    with pytest.raises((OSError, ssl.SSLError)):
        await through(stage, v1(), source=OTHER, tls=blind_client(), name="a.test")
    assert len(origin.asked) == 1


# ---- who may send one, and who must


# Version 1 reads like a request with a method that nobody knows.
AS_A_REQUEST = pytest.mark.parametrize(
    ("header", "status"), [(v1(), 501), (v2(), 400), (LOCAL, 400)], ids=["v1", "v2", "local"]
)


@AS_A_REQUEST
@ensureDeferred
async def test_a_header_of_anybody_else_is_a_bad_request(stage: Stage, header: bytes, status: int) -> None:
    origin = await stage.origin()
    await stage.serve(simple(origin, **proxied()))
    client = await through(stage, header + request("GET", "/"), source=OTHER)
    assert (await client.answer()).status == status
    await client.gone()
    assert origin.asked == []
    line = await stage.gateway.line()
    assert line["client"] == OTHER
    # Without a header it is served as anywhere else.
    assert (await stage.ask("GET", "/", source=OTHER)).status == 200
    assert origin.last.get("x-forwarded-for") == OTHER
    assert refused(stage) == 0


@AS_A_REQUEST
@ensureDeferred
async def test_without_the_setting_a_header_is_a_bad_request(stage: Stage, header: bytes, status: int) -> None:
    origin = await stage.origin()
    gateway = await stage.serve(simple(origin))
    client = await through(stage, header + request("GET", "/"))
    assert (await client.answer()).status == status
    assert origin.asked == []
    assert b"proxy_headers_refused_total{" not in gateway.service.metrics.exposition()


@ensureDeferred
async def test_a_balancer_without_a_header_is_not_served_and_told_now_and_then(stage: Stage) -> None:
    origin = await stage.origin()
    gateway = await stage.serve(simple(origin, **proxied()))
    for header in (request("GET", "/"), b"\x16\x03\x01\x02\0", v1()[:-2] + b"\n", v1()[:-2] + b" 1\r\n"):
        assert await ended(await through(stage, header)) == b""
    assert origin.asked == gateway.access() == []
    assert refused(stage) == 4
    event = await gateway.event("PROXY header refused")
    assert {name: event[name] for name in ("level", "listener", "peer", "why", "connections")} == {
        "level": "warn", "listener": "public", "peer": BALANCER, "why": "there is no header", "connections": 1,
    }  # fmt: skip
    assert [one["message"] for one in gateway.events()].count("PROXY header refused") == 1


@ensureDeferred
async def test_a_header_that_never_comes_ends_by_time(stage: Stage) -> None:
    origin = await stage.origin()
    gateway = await stage.serve(simple(origin, **proxied(timeout="50ms")))
    for header in (b"", v1()[:9], v2()[:-1]):
        assert await ended(await through(stage, header)) == b""
    event = await gateway.event("PROXY header refused")
    assert event["why"] == "the header did not come in time"
    assert refused(stage) == 3


@ensureDeferred
async def test_a_flood_of_half_headers_keeps_nobody_from_being_served(stage: Stage) -> None:
    origin = await stage.origin()
    await stage.serve(simple(origin, **proxied()))
    half = [dial(stage, (v1()[:20], v2()[:20], b"")[number % 3]) for number in range(150)]
    clients = await together(*(through(stage, v2()) for _ in range(10)))
    answers = await together(*(client.ask("GET", "/") for client in clients))
    assert [answer.status for answer in answers] == [200] * 10
    assert (await stage.ask("GET", "/", source=OTHER)).status == 200
    for one in half:
        one.close()
    await until(lambda: refused(stage) == 100)


@ensureDeferred
async def test_health_checks_that_only_connect_are_no_event(stage: Stage) -> None:
    origin = await stage.origin()
    gateway = await stage.serve(simple(origin, **proxied()))
    for number in range(20):
        connection = dial(stage)
        if number % 2:
            connection.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
        connection.close()
    client = await through(stage, v1())
    assert (await client.ask("GET", "/")).status == 200
    assert refused(stage) == 0
    assert [one for one in gateway.events() if one["level"] != "info"] == []
    assert len(await until(gateway.access)) == 1


# ---- over time


@ensureDeferred
async def test_a_reload_changes_who_is_trusted_and_a_restart_whether_it_is_spoken(stage: Stage) -> None:
    origin = await stage.origin()
    gateway = await stage.serve(simple(origin, **proxied()))
    before = await through(stage, v1())
    assert (await before.ask("GET", "/")).status == 200
    gateway.write(simple(origin, **proxied(trusted=("127.3.0.1",))))
    assert (await gateway.reload())["taken"]
    assert (await (await through(stage, v1(), source="127.3.0.1")).ask("GET", "/")).status == 200
    assert (await (await through(stage, v2())).ask("GET", "/")).status == 400
    assert (await before.ask("GET", "/")).status == 200
    gateway.write(simple(origin))
    result = await gateway.reload()
    assert not result["taken"]
    assert "PROXY protocol" in result["problems"][0]


# ---- the end


@pytest.mark.parametrize("handed_over", [False, True])
@ensureDeferred
async def test_a_drain_waits_for_headers_that_are_on_their_way(stage: Stage, handed_over: bool) -> None:
    origin = await stage.origin()
    gateway = await stage.serve(simple(origin, drain={"notice": "50ms", "timeout": "30s"}, **proxied()))
    waiting = [await through(stage, v1()[:sent]) for sent in (0, 9)]
    idle = await through(stage, v1())
    assert (await idle.ask("GET", "/")).status == 200  # so the others are accepted, too
    address, worker = gateway.address(), gateway.worker
    drained = Deferred.fromCoroutine(worker.drain(handed_over=handed_over))
    await idle.gone()
    with pytest.raises((OSError, Closed)):
        await stage.client(address)
    for client, sent in zip(waiting, (0, 9), strict=True):
        assert not drained.called
        client.send(v1()[sent:] + request("GET", "/"))
        answer = await client.answer()
        assert (answer.status, answer.get("connection")) == (200, "close")
        await client.gone()
    await drained.addTimeout(PATIENCE, reactor)
    assert origin.last.get("x-forwarded-for") == CLIENT[0]
    assert refused(stage) == 0


@pytest.mark.parametrize("secured", [False, True])
@pytest.mark.parametrize("limit", ["100ms", "30s"], ids=["the limit", "a second signal"])
@ensureDeferred
async def test_headers_and_handshakes_that_never_end_are_cut_off(
    stage: Stage, authority: Authority, limit: str, secured: bool
) -> None:
    settings = secure(stage, authority) if secured else proxied()
    gateway = await stage.serve(simple(await stage.origin(), drain={"notice": "1ms", "timeout": limit}, **settings))
    waiting = [await through(stage, v1()[:9]), await through(stage, v1() if secured else b"")]
    (port,) = [one.port for one in gateway.worker.bound]
    await until(lambda: len(port._waiting) + len(port._handing) == 2)
    stopped = gateway.service.stopService()
    if limit == "30s":
        await turn(0.1)
        assert not stopped.called
        gateway.worker.abort()
    await stopped.addTimeout(PATIENCE, reactor)
    gateway.service = None  # type: ignore[assignment]
    for client in waiting:
        assert await ended(client) == b""
