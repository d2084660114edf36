"""Faults 6, 7, 8: a field that two may read in two ways, a value that would end a line, a Host that is none."""

from __future__ import annotations

import pytest
from hostile import answered_once, nothing_came
from pytest_twisted import ensureDeferred
from toolkit.settings import api, route, simple, step, steps, upstream
from toolkit.stage import Stage

GET = b"GET / HTTP/1.1\r\n"
HOST = GET + b"Host: gw.test\r\n"
CONTROLS = [bytes([octet]) for octet in (*range(9), *range(10, 32), 127)]

FIELDS = {
    "6: white space that hides a field": [
        HOST + b"Content-Length : 5\r\n\r\nhello",
        HOST + b"X-A\t: 1\r\n\r\n",
        GET + b" Host: gw.test\r\n\r\n",
        GET + b" X-A: 1\r\nHost: gw.test\r\n\r\n",
        GET + b"\r\n Host: gw.test\r\n\r\n",
        HOST + b"X-A: 1\r\n Content-Length: 5\r\n\r\n",
        HOST + b"X-A: 1\r\n\tTransfer-Encoding: chunked\r\n\r\n",
        HOST + b"Transfer-Encoding:\r\n chunked\r\n\r\n",
        HOST + b"X-A: 1\r\n \r\n\r\n",
    ],
    "7: octets that end a value": [
        *(HOST + b"X-A: x" + octet + b"y\r\n\r\n" for octet in CONTROLS),
        *(HOST + b"X-A: x" + octet + b"\r\n\r\n" for octet in (b"\x00", b"\r", b"\x7f")),
        *(HOST + b"X-A" + octet + b": x\r\n\r\n" for octet in CONTROLS),
        HOST + b"X-A: 1\nX-B: 2\r\n\r\n",
        HOST + b"X-A: 1\rX-B: 2\r\n\r\n",
        GET.replace(b"\r\n", b"\n") + b"Host: gw.test\n\n",
    ],
    "8: a Host that is none, or two": [
        GET + b"\r\n",
        GET + b"Host:\r\n\r\n",
        HOST + b"Host: gw.test\r\n\r\n",
        HOST + b"hOST: other.test\r\n\r\n",
        *(
            GET + b"Host: " + odd + b"\r\n\r\n"
            for odd in (
                b"a, b", b"a b", b"u@a", b"a/b", b"a?b", b"a#b", b"a:b", b"a:70000", b"[::1", b"[:::1]", b"a%2eb",
                b"http://a", b"\xc3\xa4", b"a" * 400,
            )
        ),
        b"GET http://gw.test/ HTTP/1.1\r\n\r\n",
        b"GET http://gw.test/ HTTP/1.1\r\nHost: a b\r\n\r\n",
        b"GET http://u@gw.test/ HTTP/1.1\r\nHost: gw.test\r\n\r\n",
        b"GET http:/// HTTP/1.1\r\nHost: gw.test\r\n\r\n",
        b"GET / HTTP/1.0\r\nHost: a\r\nHost: b\r\n\r\n",
    ],
}  # fmt: skip


@pytest.mark.parametrize("requests", FIELDS.values(), ids=FIELDS.keys())
@ensureDeferred
async def test_6_to_8_are_refused_and_reach_nobody(stage: Stage, requests: list[bytes]) -> None:
    origin = await stage.origin()
    await stage.serve(simple(origin))
    for octets in requests:
        answer = await answered_once(stage, octets)
        assert (answer.status, answer.kind) == (400, "bad-request"), octets
    await nothing_came(stage, origin, [400] * len(requests))


SPLITS = ["%0d%0aX-Evil:%201", "%0aX-Evil:1", "%0d", "%00", "%7f", "%01", "a%0d%0a%0d%0aGET%20/smuggled"]


@pytest.mark.parametrize(
    "place",
    [
        step("set-headers", set={"X-Who": '{request.query["who"]}'}),
        step("set-headers", append={"X-Who": 'is {request.query["who"]}'}),
    ],
    ids=["set", "append"],
)
@ensureDeferred
async def test_7_what_a_template_makes_of_a_clients_octets_never_ends_a_line(stage: Stage, place: dict) -> None:
    origin = await stage.origin()
    towards = api(route(), name="towards", base_path="/towards", pre_flow=steps(place))
    back = api(route(), name="back", base_path="/back", pre_flow=steps(response=(place,)))
    await stage.serve(simple(origin, towards, back))
    client = await stage.client()
    for split in SPLITS:
        answer = await client.ask("GET", f"/towards?who={split}")
        assert (answer.status, answer.kind) == (400, "bad-request"), split
    assert origin.connections == []
    for split in SPLITS:
        answer = await client.ask("GET", f"/back?who={split}")
        assert answer.status >= 400 and answer.get("x-evil") is answer.get("x-who") is None, split
    assert (await client.ask("GET", "/back?who=caf%C3%A9")).get("x-who") is not None
    assert {asked.target.partition("?")[0] for asked in origin.asked} == {"/back"}


@ensureDeferred
async def test_7_a_location_that_a_template_makes_never_ends_its_line(stage: Stage) -> None:
    move = step("redirect", to='https://to.test/{request.query["who"]}')
    await stage.serve({"apis": [api({"name": "all", "match": {"path_prefix": "/"}}, pre_flow=steps(move))]})
    client = await stage.client()
    for split in SPLITS:
        answer = await client.ask("GET", f"/?who={split}")
        assert answer.get("x-evil") is None, split
        assert answer.status == 400 or not set(answer.get("location") or "") & set(map(chr, (*range(32), 127))), split


@ensureDeferred
async def test_7_a_path_that_an_expression_makes_stays_a_path(stage: Stage) -> None:
    origin = await stage.origin()
    rewrite = step("rewrite-path", regex="^/from/(.*)$", to=r"/to/\1")
    await stage.serve(simple(origin, api(pre_flow=steps(rewrite))))
    client = await stage.client()
    for escaped in ("%0d%0aX-Evil:1", "%0aX", "%00", "..%2f..", "../.."):
        assert (await client.ask("GET", f"/from/{escaped}")).status == 400, escaped
    assert origin.connections == []
    for escaped in ("%20HTTP/1.1", "a%2fb", "%3fx=1%23"):
        assert (await client.ask("GET", f"/from/{escaped}")).status == 200
        assert (origin.last.target, origin.last.version) == (f"/to/{escaped}", "HTTP/1.1")


@ensureDeferred
async def test_8_an_absolute_target_names_the_host_and_not_the_field(stage: Stage) -> None:
    one, other = await stage.origin(name="one"), await stage.origin(name="other")
    await stage.serve(
        {
            "upstreams": [
                upstream(one, name="one", host="preserve"),
                upstream(other, name="other", host="preserve"),
            ],
            "apis": [
                api(route(to="one"), name="one", hosts=["one.test"]),
                api(route(to="other"), name="other", hosts=["other.test"]),
            ],
        }
    )
    client = await stage.client()
    answer = await client.ask("GET", "http://other.test/x?y", "X-Forwarded-Host: one.test", host="one.test")
    assert (answer.status, one.asked) == (200, [])
    assert (other.last.target, other.last.get("host")) == ("/x?y", "other.test")
    assert other.last.get("x-forwarded-host") == "other.test"
    assert (await client.ask("GET", "http://nobody.test/x", host="one.test")).status == 404
    assert one.asked == []
