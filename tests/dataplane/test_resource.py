"""GatewayResource: the plans of a file in a twisted.web site, beside another resource, over real sockets."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import pytest_twisted
from pytest_twisted import ensureDeferred
from raw_origin import BIG, ENDLESS, Origin
from treq.client import HTTPClient
from twisted.internet import reactor
from twisted.internet.defer import Deferred
from twisted.internet.endpoints import TCP4ClientEndpoint, connectProtocol
from twisted.internet.protocol import Protocol, connectionDone
from twisted.internet.task import deferLater
from twisted.python.failure import Failure
from twisted.web.client import Agent
from twisted.web.resource import Resource
from twisted.web.server import Site

from apigateway.assembly import gateway_resource
from apigateway.dataplane.resource import GatewayResource
from apigateway.errors import ConfigurationRefused

KEY = "k-demo"
PATIENCE = 10.0
CONFIGURATION = """\
version: 1
listeners: [{{name: unused, address: "127.0.0.1:1"}}]
management: {{address: "127.0.0.1:2"}}
drain: {{notice: 2s, timeout: 300ms}}
logs: {{access: access.log, error: error.log}}
trusted_proxies: ["127.0.0.1/32"]
upstreams:
  - {{name: origin, targets: [{{name: one, url: "http://127.0.0.1:{port}"}}]}}
  - {{name: nobody, targets: [{{name: gone, url: "http://127.0.0.1:1"}}], timeouts: {{connect: 500ms}}}}
apis:
  - name: api
    base_path: /api
    pre_flow:
      response: [{{policy: set-headers, with: {{set: {{X-Shaped: "{{response.status}}"}}, remove: [Server]}}}}]
    routes:
      - name: guarded
        match: {{path: "/guarded/{{rest*}}"}}
        upstream: origin
        pre_flow: {{request: [{{policy: api-key}}]}}
      - name: made
        match: {{path: /made}}
        pre_flow:
          request: [{{policy: mock, with: {{status: 418, headers: {{X-Made: "yes"}}, body: "{{}}"}}}}]
      - name: small
        match: {{path: /small/length}}
        upstream: origin
        pre_flow: {{request: [{{policy: message-size, with: {{max: 1KiB}}}}]}}
      - {{name: down, match: {{path: /down}}, upstream: nobody}}
      - {{name: rest, match: {{path_prefix: /open}}, upstream: origin}}
consumers:
  - {{name: acme, api_keys: [{{sha256: "{key}"}}]}}
"""


class Raw(Protocol):
    """A client that says what it is told to, and keeps what comes."""

    def __init__(self) -> None:
        self.received = b""
        self.lost: Deferred[None] = Deferred()

    def dataReceived(self, data: bytes) -> None:
        self.received += data

    def connectionLost(self, reason: Failure = connectionDone) -> None:
        self.lost.callback(None)


class Beside(Resource):
    isLeaf = True

    def render_GET(self, request: object) -> bytes:
        return b"something else"


class Place:
    """A site with the gateway under /api and something else beside it, and the origin behind."""

    def __init__(self, port: int, origin: Origin, gateway: GatewayResource, folder: Path) -> None:
        self.port, self.origin, self.gateway, self.folder = port, origin, gateway, folder
        self.raws: list[Raw] = []

    async def ask(self, method: str, path: str, headers: dict[str, Any] | None = None, **options: Any) -> Any:
        url = f"http://127.0.0.1:{self.port}{path}"
        answer = await HTTPClient(Agent(reactor)).request(method, url, headers=headers, **options)
        answer.text = await answer.content()
        return answer

    async def raw(self, octets: bytes) -> Any:
        endpoint = TCP4ClientEndpoint(reactor, "127.0.0.1", self.port)
        client = await connectProtocol(endpoint, Raw())
        self.raws.append(client)
        client.transport.write(octets)
        return client

    async def conversation(self, octets: bytes) -> bytes:
        """All that a client which says this gets until the site closes."""
        client = await self.raw(octets)
        await client.lost.addTimeout(PATIENCE, reactor)
        return bytes(client.received)

    async def logged(self) -> dict[str, Any]:
        """The newest line of the access log."""
        path = self.folder / "access.log"
        await until(lambda: path.exists() and path.read_text().endswith("}\n"))
        line: dict[str, Any] = json.loads(path.read_text().splitlines()[-1])
        return line


async def until(holds: Callable[[], bool]) -> None:
    for _ in range(int(PATIENCE / 0.01)):
        if holds():
            return
        await deferLater(reactor, 0.01)
    raise AssertionError("it never came to be")


@pytest_twisted.async_yield_fixture
async def place(tmp_path: Path) -> Any:
    origin = Origin()
    behind: Any = reactor.listenTCP(0, origin, interface="127.0.0.1")  # type: ignore[attr-defined]
    file = tmp_path / "gateway.yaml"
    file.write_text(CONFIGURATION.format(port=behind.getHost().port, key=hashlib.sha256(KEY.encode()).hexdigest()))
    gateway = await gateway_resource(reactor, str(file))
    root = Resource()
    root.putChild(b"api", gateway)
    root.putChild(b"beside", Beside())
    site = Site(root)
    site.noisy = False
    port: Any = reactor.listenTCP(0, site, interface="127.0.0.1")  # type: ignore[attr-defined]
    place = Place(port.getHost().port, origin, gateway, tmp_path)
    yield place
    for raw in place.raws:
        raw.transport.abortConnection()
    await gateway.close()
    await port.stopListening()
    await behind.stopListening()
    for connection in list(origin.open):
        connection.transport.abortConnection()
    await deferLater(reactor, 0.05)


# ---- plain traffic


@ensureDeferred
async def test_a_request_passes_with_policies_applied(place: Place) -> None:
    answer = await place.ask("GET", "/api/open/x?a=%2F&b", {"X-Own": ["1", "2"], "Cookie": "c=d"})
    assert (answer.code, answer.text) == (200, b'{"ok":true}')
    assert answer.headers.getRawHeaders("x-shaped") == ["200"]
    assert not answer.headers.hasHeader("server")
    head, body = place.origin.seen[0]
    assert head.startswith(b"get /api/open/x?a=%2f&b http/1.1\r\n")
    assert b"\r\nx-own: 1\r\nx-own: 2" in head and b"\r\ncookie: c=d" in head
    assert b"\r\nvia: 1.1 apigateway" in head and b"\r\nx-forwarded-for: 127.0.0.1" in head
    assert body == b""
    line = await place.logged()
    assert (line["listener"], line["route"], line["status"], line["target_name"]) == ("resource", "rest", 200, "one")


@ensureDeferred
async def test_what_stands_beside_it_is_left_alone(place: Place) -> None:
    answer = await place.ask("GET", "/beside")
    assert answer.text == b"something else"
    assert not answer.headers.hasHeader("x-shaped")


@ensureDeferred
async def test_upstream_connections_are_used_again(place: Place) -> None:
    for _ in range(3):
        assert (await place.ask("GET", "/api/open/x")).code == 200
    assert len(place.origin.open) == 1


@ensureDeferred
async def test_a_guard_refuses_and_lets_pass(place: Place) -> None:
    refused = await place.ask("GET", "/api/guarded/x")
    assert refused.code == 401
    assert refused.headers.getRawHeaders("content-type") == ["application/problem+json"]
    assert refused.headers.hasHeader("www-authenticate")
    assert json.loads(refused.text)["status"] == 401
    assert place.origin.seen == []
    passed = await place.ask("GET", "/api/guarded/x", {"X-API-Key": KEY})
    assert passed.code == 200
    assert KEY.encode() not in place.origin.seen[0][0]
    assert (await place.logged())["consumer"] == "acme"


@ensureDeferred
async def test_a_step_answers_without_an_upstream(place: Place) -> None:
    answer = await place.ask("GET", "/api/made")
    assert (answer.code, answer.text) == (418, b"{}")
    assert answer.headers.getRawHeaders("x-made") == ["yes"]
    assert answer.headers.getRawHeaders("x-shaped") == ["418"]


@ensureDeferred
async def test_the_client_behind_a_trusted_proxy_is_believed(place: Place) -> None:
    await place.ask("GET", "/api/open/x", {"X-Forwarded-For": "203.0.113.9", "X-Forwarded-Proto": "https"})
    head = place.origin.seen[0][0]
    assert b"\r\nx-forwarded-for: 203.0.113.9, 127.0.0.1" in head and b"\r\nx-forwarded-proto: https" in head
    assert (await place.logged())["client"] == "203.0.113.9"


# ---- answers of every shape


@pytest.mark.parametrize(
    ("method", "name", "status", "body", "fields"),
    [
        ("HEAD", "head", 200, b"", {"content-length": ["1234"]}),
        ("GET", "empty", 204, b"", {"content-length": None, "content-type": None}),
        ("GET", "unchanged", 304, b"", {"etag": ['"e"'], "content-type": None}),
        ("GET", "cookies", 200, b"{}", {"set-cookie": ["a=1", "b=2"], "content-type": None}),
        ("GET", "chunked", 200, b"abcde", {"content-length": None}),
        ("GET", "until-close", 200, b"to the end", {"content-length": None}),
        ("GET", "hints", 200, b"{}", {"link": None}),
        ("GET", "nonsense", 502, None, {"proxy-status": ["apigateway; error=http_protocol_error"]}),
    ],
)
@ensureDeferred
async def test_answers(
    place: Place, method: str, name: str, status: int, body: bytes | None, fields: dict[str, list[str] | None]
) -> None:
    answer = await place.ask(method, f"/api/open/{name}")
    assert answer.code == status
    assert body is None or answer.text == body
    for field, values in fields.items():
        known = answer.headers.getRawHeaders(field)
        # The client keeps framing fields from its user; what it took as the length it tells.
        assert known == values or (field == "content-length" and values is not None and answer.length == int(values[0]))


@ensureDeferred
async def test_an_unknown_length_is_chunked_for_1_1_and_ends_with_the_connection_for_1_0(place: Place) -> None:
    newer = await place.conversation(b"GET /api/open/chunked HTTP/1.1\r\nHost: a\r\nConnection: close\r\n\r\n")
    assert b"\r\nTransfer-Encoding: chunked\r\n" in newer and newer.endswith(b"0\r\n\r\n")
    older = await place.conversation(b"GET /api/open/chunked HTTP/1.0\r\n\r\n")
    assert b"chunked" not in older and older.endswith(b"\r\n\r\nabcde")
    assert b"via: 1.0 apigateway" in place.origin.seen[1][0]


@ensureDeferred
async def test_a_connection_carries_several_requests(place: Place) -> None:
    one = b"GET /api/made HTTP/1.1\r\nHost: a\r\n\r\n"
    last = b"HEAD /api/open/head HTTP/1.1\r\nHost: a\r\nConnection: close\r\n\r\n"
    answers = await place.conversation(one + one + last)
    assert answers.count(b"HTTP/1.1 418 ") == 2
    assert answers.count(b"HTTP/1.1 200 OK") == 1 and answers.endswith(b"\r\n\r\n")


@ensureDeferred
async def test_a_response_cut_short_does_not_look_whole(place: Place) -> None:
    answer = await place.conversation(b"GET /api/open/short HTTP/1.1\r\nHost: a\r\n\r\n")
    assert b"Content-Length: 10" in answer and answer.endswith(b"\r\n\r\nabc")
    assert (await place.logged())["fault"]["type"] == "incomplete-response"


@ensureDeferred
async def test_a_target_that_is_not_there(place: Place) -> None:
    answer = await place.ask("GET", "/api/down")
    assert answer.code == 502
    assert json.loads(answer.text)["type"].endswith("/connect-failed")


# ---- bodies


@ensureDeferred
async def test_uploads(place: Place) -> None:
    body = bytes(range(256)) * (BIG // 256)
    answer = await place.ask("POST", "/api/open/length", data=body)
    assert answer.text == b"%d" % BIG
    assert place.origin.seen[0][1] == body
    assert (await place.logged())["octets_in"] == BIG


@ensureDeferred
async def test_an_empty_upload_and_a_chunked_one(place: Place) -> None:
    assert (await place.ask("POST", "/api/open/length")).text == b"0"
    told = await place.conversation(
        b"PUT /api/open/length HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\nConnection: close\r\n\r\n"
        b"3\r\nabc\r\n0\r\n\r\n"
    )
    assert told.endswith(b"\r\n\r\n3")
    assert b"content-length: 3" in place.origin.seen[1][0]


@ensureDeferred
async def test_a_form_reaches_the_origin_as_it_was_sent(place: Place) -> None:
    form = {"Content-Type": "application/x-www-form-urlencoded"}
    await place.ask("POST", "/api/open/length", form, data=b"a=1&b=%20")
    assert place.origin.seen[0][1] == b"a=1&b=%20"


@ensureDeferred
async def test_a_waiting_client_is_told_to_go_on_once(place: Place) -> None:
    client = await place.raw(
        b"POST /api/open/length HTTP/1.1\r\nHost: a\r\nExpect: 100-continue\r\nContent-Length: 3\r\n\r\n"
    )
    await until(lambda: client.received != b"")
    client.transport.write(b"abc")
    await until(lambda: client.received.endswith(b"\r\n\r\n3"))
    assert client.received.count(b" 100 Continue") == 1
    assert b"expect" not in place.origin.seen[0][0]


@ensureDeferred
async def test_a_body_that_is_too_large_for_a_route(place: Place) -> None:
    assert (await place.ask("POST", "/api/small/length", data=b"x" * 1024)).text == b"1024"
    assert (await place.ask("POST", "/api/small/length", data=b"x" * 1025)).code == 413
    assert len(place.origin.seen) == 1


@ensureDeferred
async def test_a_large_download(place: Place) -> None:
    answer = await place.ask("GET", "/api/open/big")
    assert answer.text == b"x" * BIG


@ensureDeferred
async def test_a_client_that_does_not_read_stops_the_origin(place: Place) -> None:
    client = await place.raw(b"GET /api/open/endless HTTP/1.1\r\nHost: a\r\n\r\n")
    client.transport.pauseProducing()
    await until(lambda: place.origin.written > 0)
    before = -1
    while before != place.origin.written:
        before = place.origin.written
        await deferLater(reactor, 0.2)
    assert before < ENDLESS // 4
    client.transport.resumeProducing()
    await until(lambda: place.origin.written > before)


@ensureDeferred
async def test_an_origin_that_does_not_read_stops_the_upload(place: Place) -> None:
    place.origin.reading = False
    asked = Deferred.fromCoroutine(place.ask("POST", "/api/open/length", data=b"x" * BIG))
    await until(lambda: bool(place.origin.open))
    await deferLater(reactor, 0.3)
    assert place.origin.seen == []
    for connection in place.origin.open:
        connection.transport.resumeProducing()
    assert (await asked).text == b"%d" % BIG


# ---- endings


@pytest.mark.parametrize("name", ["silent", "begun", "endless"])
@ensureDeferred
async def test_a_client_that_leaves_ends_its_exchange(place: Place, name: str) -> None:
    client = await place.raw(b"GET /api/open/%b HTTP/1.1\r\nHost: a\r\n\r\n" % name.encode())
    await until(lambda: len(place.origin.seen) == 1)
    await deferLater(reactor, 0.05)
    client.transport.abortConnection()
    await until(lambda: not place.origin.open)
    line = await place.logged()
    assert line["fault"]["type"] == "client-closed"
    assert line["status"] == (499 if name == "silent" else 200)
    assert place.gateway.driver.revision.active == 0


@ensureDeferred
async def test_close_takes_no_more_and_cuts_off_what_stays(place: Place) -> None:
    client = await place.raw(b"GET /api/open/silent HTTP/1.1\r\nHost: a\r\n\r\n")
    await until(lambda: len(place.origin.seen) == 1)
    closed = place.gateway.close()
    assert (await place.ask("GET", "/api/open/x")).code == 503
    await closed.addTimeout(PATIENCE, reactor)
    await client.lost.addTimeout(PATIENCE, reactor)
    assert client.received == b""
    await place.gateway.close()
    assert len(place.origin.seen) == 1


@ensureDeferred
async def test_close_waits_for_what_ends_in_time(place: Place) -> None:
    place.origin.reading = False
    asked = Deferred.fromCoroutine(place.ask("GET", "/api/open/x"))
    await until(lambda: bool(place.origin.open))
    closed = place.gateway.close()
    for connection in place.origin.open:
        connection.transport.resumeProducing()
    assert (await asked).code == 200
    await closed.addTimeout(PATIENCE, reactor)


# ---- what is refused


@pytest.mark.parametrize(
    ("head", "status"),
    [
        (b"GET /api/open/x HTTP/1.1\r\nHost: a\r\nUpgrade: websocket\r\nConnection: upgrade\r\n", 501),
        (b"GET /api/open/x HTTP/1.1\r\n", 400),
        (b"GET /api/open/x HTTP/1.1\r\nHost: a\r\nHost: b\r\n", 400),
        (b"GET /api/open/x HTTP/1.1\r\nHost: a\r\nX-A: b\x01c\r\n", 400),
        (b"GET /api/open/\x80 HTTP/1.1\r\nHost: a\r\n", 400),
        (b"GET /api/open/../x HTTP/1.1\r\nHost: a\r\n", 400),
        (b"GET /api/open/" + b"x" * 9000 + b" HTTP/1.1\r\nHost: a\r\n", 414),
        (b"GET /api/open/x HTTP/1.1\r\nHost: a\r\nExpect: wonders\r\n", 417),
        (b"GET /api/nothing HTTP/1.1\r\nHost: a\r\n", 404),
        (b"TRACE /api/open/x HTTP/1.1\r\nHost: a\r\nMax-Forwards: 0\r\n", 405),
    ],
)
@ensureDeferred
async def test_refused_requests_reach_no_origin(place: Place, head: bytes, status: int) -> None:
    client = await place.raw(head + b"\r\n")
    await until(lambda: client.received.endswith(b"}"))
    assert client.received.startswith(b"HTTP/1.1 %d " % status)
    assert b"application/problem+json" in client.received
    assert place.origin.seen == []


@pytest.mark.parametrize("line", [b"Content_Length: 5", b"X_Real_IP: 1", b"Proxy-Authorization: x", b"Keep-Alive: 1"])
@ensureDeferred
async def test_fields_that_are_not_to_pass(place: Place, line: bytes) -> None:
    await place.conversation(b"GET /api/open/x HTTP/1.1\r\nHost: a\r\nConnection: close\r\n%b\r\n\r\n" % line)
    assert line.partition(b":")[0].lower() not in place.origin.seen[0][0]


@ensureDeferred
async def test_fields_named_by_connection_are_for_this_hop(place: Place) -> None:
    await place.conversation(b"GET /api/open/x HTTP/1.1\r\nHost: a\r\nConnection: X-Hop, close\r\nX-Hop: 1\r\n\r\n")
    assert b"x-hop" not in place.origin.seen[0][0]


@ensureDeferred
async def test_a_broken_file_is_refused(tmp_path: Path) -> None:
    file = tmp_path / "gateway.yaml"
    file.write_text("version: 1\nlisteners: []\napis: [{name: a, routes: [{name: b, upstream: nowhere}]}]\n")
    with pytest.raises(ConfigurationRefused):
        await gateway_resource(reactor, str(file))
