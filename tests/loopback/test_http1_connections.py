"""HTTP/1 on both sides over real sockets: what a connection carries, in which order, and when it ends."""

from __future__ import annotations

import pytest
from pytest_twisted import ensureDeferred
from toolkit.client import request
from toolkit.origin import Asked, answering
from toolkit.settings import api, route, simple, step, steps
from toolkit.stage import Stage
from toolkit.waiting import turn, until


@ensureDeferred
async def test_fifty_requests_in_one_write_are_answered_in_order(stage: Stage) -> None:
    async def slow_at_first(asked: Asked) -> None:
        await asked.read()
        await turn(0.02 if asked.target.endswith("0") else 0.0)
        asked.answer(200, asked.target.encode() + b" " + asked.body)

    origin = await stage.origin(slow_at_first)
    mock = api(
        route(name="m", to=None, pre_flow=steps(step("mock", status=200, body="mock"))),
        name="m",
        base_path="/m",
    )
    await stage.serve(simple(origin, api(), mock))
    client = await stage.client()
    written = b""
    for number in range(50):
        if number % 5 == 3:
            written += request("GET", f"/m{number}" if number % 2 else f"/m/{number}")
        elif number % 2:
            written += request("POST", f"/{number}", body=b"body of %d" % number)
        else:
            written += request("GET", f"/{number}")
    client.send(written)
    for number in range(50):
        answer = await client.answer()
        if number % 5 == 3 and not number % 2:
            assert answer.body == b"mock"
        else:
            target = f"/m{number}" if number % 5 == 3 else f"/{number}"
            assert (
                answer.body
                == f"{target} {f'body of {number}' if number % 2 and number % 5 != 3 else ''}".encode()
            )
    assert client.unread == b""
    assert len(origin.asked) == 45
    # One after the other: no more than one connection was wanted.
    assert len(origin.connections) == 1


@ensureDeferred
async def test_requests_that_arrive_in_pieces_of_an_octet(stage: Stage) -> None:
    origin = await stage.origin()
    await stage.serve(simple(origin))
    client = await stage.client()
    for octet in request("POST", "/a", "X-A: 1", body=b"hello") + request("GET", "/b"):
        client.send(bytes([octet]))
        await turn()
    assert [(await client.answer()).status for _ in range(2)] == [200, 200]
    assert [(asked.target, asked.body) for asked in origin.asked] == [("/a", b"hello"), ("/b", b"")]


@ensureDeferred
async def test_chunked_bodies_and_trailers_pass_both_ways(stage: Stage) -> None:
    async def with_trailers(asked: Asked) -> None:
        await asked.read()
        asked.send(
            b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\nTrailer: X-Sum\r\n\r\n"
            b"3\r\nabc\r\n2;ext=1\r\nde\r\n0\r\nX-Sum: 5\r\nSet-Cookie: a=1\r\n\r\n"
        )

    origin = await stage.origin(with_trailers)
    await stage.serve(simple(origin))
    client = await stage.client()
    for welcome in (True, False):
        te = b"TE: trailers\r\nConnection: TE\r\n" if welcome else b""
        client.send(
            b"POST / HTTP/1.1\r\nHost: gw.test\r\nTransfer-Encoding: chunked\r\n" + te + b"\r\n"
            b"4\r\nwxyz\r\n0\r\nX-Digest: d\r\nHost: evil\r\n\r\n"
        )
        answer = await client.answer()
        assert (answer.body, answer.get("content-length")) == (b"abcde", None)
        assert answer.trailers == ([("x-sum", "5")] if welcome else [])
        assert (origin.last.body, origin.last.trailers) == (b"wxyz", [("x-digest", "d")])


@ensureDeferred
async def test_a_response_that_the_close_ends_is_framed_anew(stage: Stage) -> None:
    def until_close(asked: Asked) -> None:
        asked.send(b"HTTP/1.0 200 OK\r\nContent-Type: text/plain\r\n\r\nall of it")
        asked.connection.close()

    origin = await stage.origin(until_close)
    await stage.serve(simple(origin))
    client = await stage.client()
    for _ in range(2):
        answer = await client.ask("GET", "/")
        assert (answer.body, answer.get("transfer-encoding")) == (b"all of it", "chunked")
    assert len(origin.connections) == 2


@ensureDeferred
async def test_a_response_without_a_date_gets_one_and_a_date_of_the_origin_stays(stage: Stage) -> None:
    origin = await stage.origin()
    await stage.serve(simple(origin, api(name="all", base_path="/x")))
    client = await stage.client()
    # RFC 9110 6.6.1: whoever passes on a response without one appends it.
    for target in ("/x", "/nowhere"):
        assert (await client.ask("GET", target)).all("date")[0].endswith(" GMT")
    origin.script = answering(200, b"ok", "Date: Wed, 09 Jun 2027 10:18:14 GMT")
    assert (await client.ask("GET", "/x")).get("date") == "Wed, 09 Jun 2027 10:18:14 GMT"


CUT = [
    b"HTTP/1.1 200 OK\r\nContent-Length: 10\r\n\r\nshort",
    b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n5\r\nshort\r\n",
    b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\nA\r\nshort",
]


@ensureDeferred
async def test_a_response_that_is_cut_short_does_not_look_whole(stage: Stage) -> None:
    def cut_short(asked: Asked) -> None:
        asked.send(CUT[int(asked.target[1:])])
        asked.connection.close()

    origin = await stage.origin(cut_short)
    await stage.serve(simple(origin))
    for number in range(len(CUT)):
        client = await stage.client()
        client.send(request("GET", f"/{number}"))
        answer = await client.head()
        body = await client.rest()
        assert answer.status == 200
        assert len(body) < 10 if answer.get("content-length") else not body.endswith(b"0\r\n\r\n")
    await stage.gateway.line(lambda line: line["target"] == "/2")
    assert [line["fault"]["type"] for line in stage.gateway.access()] == ["incomplete-response"] * 3


@ensureDeferred
async def test_absolute_form_names_the_host_and_the_target(stage: Stage) -> None:
    origin = await stage.origin()
    hosted = api(name="hosted", hosts=["api.example.test"])
    await stage.serve(simple(origin, hosted, up={"host": "preserve"}))
    client = await stage.client()
    client.send(b"GET http://api.example.test/a%2Fb?c HTTP/1.1\r\nHost: other.test\r\n\r\n")
    assert (await client.answer()).status == 200
    assert (origin.last.target, origin.last.get("host")) == ("/a%2Fb?c", "api.example.test")
    client.send(b"GET http://api.example.test HTTP/1.1\r\nHost: api.example.test\r\n\r\n")
    assert (await client.answer()).status == 200
    assert origin.last.target == "/"
    assert (await client.ask("GET", "/", host="other.test")).status == 404


@ensureDeferred
async def test_options_asterisk_and_max_forwards_are_answered_by_the_gateway(stage: Stage) -> None:
    origin = await stage.origin()
    await stage.serve(simple(origin))
    client = await stage.client()
    answer = await client.ask("OPTIONS", "*")
    assert answer.status in (200, 204) and "GET" in (answer.get("allow") or "")
    assert (await client.ask("OPTIONS", "/x", "Max-Forwards: 0")).status in (200, 204)
    assert origin.asked == []
    assert (await client.ask("OPTIONS", "/x", "Max-Forwards: 2")).status == 200
    assert (origin.last.get("max-forwards"), origin.last.target) == ("1", "/x")


@ensureDeferred
async def test_head_is_matched_by_get_and_has_no_body_of_ours_either(stage: Stage) -> None:
    origin = await stage.origin(answering(200, b"a body", "ETag: x"))
    only_get = {"name": "r", "match": {"methods": ["GET"], "path": "/r"}, "upstream": "up"}
    mock = route("/mock", name="m", to=None, pre_flow=steps(step("mock", status=200, body="four")))
    await stage.serve(simple(origin, api(only_get, mock)))
    client = await stage.client()
    assert (await client.ask("HEAD", "/mock")).get("content-length") == "4"
    absent = await client.ask("HEAD", "/absent")
    assert (absent.status, absent.get("content-type")) == (404, "application/problem+json")
    refused = await client.ask("PUT", "/r")
    assert (refused.status, refused.get("allow")) == (405, "GET, HEAD")
    origin.script = lambda asked: asked.send(b"HTTP/1.1 200 OK\r\nContent-Length: 6\r\n\r\n")
    assert (await client.ask("HEAD", "/r")).get("content-length") == "6"
    assert (origin.last.method, client.unread) == ("HEAD", b"")


# ---- HTTP/1.0


@ensureDeferred
async def test_an_http_1_0_client_gets_its_answer_and_the_close(stage: Stage) -> None:
    def chunked(asked: Asked) -> None:
        asked.send(b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n3\r\nabc\r\n0\r\n\r\n")

    origin = await stage.origin(chunked)
    await stage.serve(simple(origin))
    client = await stage.client()
    client.send(b"GET /a HTTP/1.0\r\n\r\n")
    answer = await client.answer()
    assert (answer.body, answer.get("transfer-encoding"), answer.get("connection")) == (b"abc", None, "close")
    assert client.ended
    assert origin.last.version == "HTTP/1.1" and origin.last.get("via") == "1.0 apigateway"


@ensureDeferred
async def test_an_http_1_0_client_that_asks_for_it_keeps_its_connection(stage: Stage) -> None:
    origin = await stage.origin()
    await stage.serve(simple(origin))
    client = await stage.client()
    for _ in range(3):
        client.send(b"GET /a HTTP/1.0\r\nHost: gw.test\r\nConnection: keep-alive\r\n\r\n")
        answer = await client.answer()
        assert (answer.body, answer.get("connection"), answer.get("content-length")) == (
            b"ok",
            "keep-alive",
            "2",
        )
    assert not client.ended


@pytest.mark.parametrize("line", ["HTTP/1.1", "HTTP/1.0"])
@ensureDeferred
async def test_connection_close_ends_the_connection_after_the_answer(stage: Stage, line: str) -> None:
    origin = await stage.origin()
    await stage.serve(simple(origin))
    client = await stage.client()
    client.send(
        f"GET /a {line}\r\nHost: gw.test\r\nConnection: close\r\n\r\nGET /b {line}\r\nHost: gw.test\r\n\r\n".encode()
    )
    assert (await client.answer()).get("connection") == "close"
    await client.gone(within=1.0)
    # RFC 9112 9.6: nothing is read after a close.
    assert [asked.target for asked in origin.asked] == ["/a"]
    await until(lambda: not stage.gateway.worker.bound[0].listener.connections, within=1.0)


# ---- what is no request


BAD = [
    (b"GET / HTTP/1.1\r\n\r\n", 400),
    (b"GET / HTTP/1.1\r\nHost: a\r\nHost: b\r\n\r\n", 400),
    (b"POST / HTTP/1.1\r\nHost: a\r\nContent-Length: 6\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\nG", 400),
    (b"GET / HTTP/1.1\r\nHost: a\r\nX : 1\r\n\r\n", 400),
    (b"GET / HTTP/3.0\r\nHost: a\r\n\r\n", 505),
    (b"GET\r\n\r\n", 400),
    (b"\x16\x03\x01\x00\xa5\r\n\r\n", 400),
    (b"GET /" + b"a" * 9000 + b" HTTP/1.1\r\nHost: a\r\n\r\n", 414),
    (b"GET / HTTP/1.1\r\nHost: a\r\nX: " + b"a" * 17000 + b"\r\n\r\n", 431),
    (b"POST / HTTP/1.1\r\nHost: a\r\nContent-Length: 1\r\nExpect: tea\r\n\r\n", 417),
    (b"GET /../x HTTP/1.1\r\nHost: a\r\n\r\n", 400),
    (b"GET /a%00b HTTP/1.1\r\nHost: a\r\n\r\n", 400),
]


@ensureDeferred
async def test_a_bad_request_gets_its_4xx_and_nothing_reaches_the_upstream(stage: Stage) -> None:
    origin = await stage.origin()
    await stage.serve(simple(origin))
    for octets, status in BAD:
        client = await stage.client()
        client.send(octets)
        answer = await client.answer()
        assert (answer.status, answer.json["status"]) == (status, status), octets
        client.close()
    assert origin.connections == []
    await stage.gateway.line(lambda line: line["target"] == "/a%00b")
    assert [line["status"] for line in stage.gateway.access()] == [status for _, status in BAD]


@ensureDeferred
async def test_after_what_could_not_be_read_the_connection_ends(stage: Stage) -> None:
    origin = await stage.origin()
    await stage.serve(simple(origin))
    client = await stage.client()
    client.send(request("GET", "/good") + b"nonsense\r\n\r\n" + request("GET", "/never"))
    assert (await client.answer()).status == 200
    answer = await client.answer()
    assert answer.status in (400, 501) and answer.get("connection") == "close"
    await client.gone(within=1.0)
    assert [asked.target for asked in origin.asked] == ["/good"]
