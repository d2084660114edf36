"""mock, redirect, maintenance: answers without an upstream."""

from __future__ import annotations

import pytest
from twisted.internet.defer import CancelledError, Deferred

from apigateway.flow.faults import Fault
from apigateway.testing import Gateway

# ---- mock

JSON = '{"pong": true}'
BODIES = {"application/json": JSON, "application/xml": "<pong/>"}


@pytest.mark.parametrize(
    ("settings", "status", "content_type", "body"),
    [
        ({}, 200, None, b""),
        ({"body": JSON}, 200, b"application/json", JSON.encode()),
        ({"body": "grüß"}, 200, b"text/plain; charset=utf-8", "grüß".encode()),
        ({"body": "a,b", "headers": {"Content-Type": "text/csv"}}, 200, b"text/csv", b"a,b"),
        ({"status": 503, "body": "no"}, 503, b"text/plain; charset=utf-8", b"no"),
        ({"status": 204}, 204, None, b""),
        ({"body": "{client.ip}"}, 200, b"text/plain; charset=utf-8", b"{client.ip}"),
    ],
)
def test_mock_answers(bench, exchange, settings, status, content_type, body):
    reply = bench.policy("mock", settings).on_request(exchange())
    assert (reply.status, reply.headers.get(b"content-type"), reply.body) == (status, content_type, body)


@pytest.mark.parametrize(
    ("accept", "body"),
    [
        ([], JSON),
        ([("Accept", "application/xml")], "<pong/>"),
        ([("Accept", "application/json;q=0.1"), ("Accept", "application/xml;q=0.2")], "<pong/>"),
        ([("Accept", "image/png")], JSON),
    ],
)
def test_mock_by_media_type(bench, exchange, accept, body):
    reply = bench.policy("mock", {"bodies": BODIES}).on_request(exchange(headers=accept))
    assert reply.body == body.encode()
    assert reply.headers.get(b"vary") == b"Accept"


def test_mock_waits(bench, exchange):
    outcome = bench.policy("mock", {"delay": "250ms", "body": "x"}).on_request(exchange())
    assert isinstance(outcome, Deferred) and not outcome.called
    bench.clock.advance(0.249)
    assert not outcome.called
    bench.clock.advance(0.002)
    assert outcome.result.body == b"x"


@pytest.mark.parametrize(("timeout", "status"), [("5s", 500), ("7s", 503)])
def test_mock_waits_no_longer_than_its_step_may(registry, timeout, status):
    step = {"policy": "mock", "timeout": timeout, "with": {"delay": "6s", "status": 503}}
    assert Gateway([step], registry=registry).call().status == status


def test_a_wait_given_up_leaves_no_timer(bench, exchange):
    outcome = bench.policy("mock", {"delay": "1h"}).on_request(exchange())
    failures = []
    outcome.addErrback(failures.append)
    outcome.cancel()
    assert failures[0].check(CancelledError)
    assert bench.timers.waiting() == []


def test_mock_hands_out_an_answer_of_its_own_each_time(bench, exchange):
    policy = bench.policy("mock", {"headers": {"X-A": "1"}})
    policy.on_request(exchange()).headers.set(b"x-a", b"2")
    assert policy.on_request(exchange()).headers.get(b"x-a") == b"1"


@pytest.mark.parametrize(
    ("settings", "why"),
    [
        ({"body": "a", "bodies": {"text/plain": "b"}}, "not both"),
        ({"status": 204, "body": "a"}, "has no body"),
        ({"status": 100}, "at least 200"),
        ({"headers": {"Content-Length": "5"}}, "written by the gateway"),
        ({"headers": {"X-A": "a\r\nb"}}, "control character"),
    ],
)
def test_mock_refusals(bench, settings, why):
    assert why in bench.refused("mock", settings)


# ---- redirect


@pytest.mark.parametrize(
    ("settings", "target", "location"),
    [
        ({"to": "/new"}, "/old", "/new"),
        ({"to": "/new"}, "/old?a=%7C&flag&b=1+2", "/new?a=%7C&flag&b=1+2"),
        ({"to": "/new?x=1"}, "/old?a=1", "/new?x=1&a=1"),
        ({"to": "/new#part"}, "/old?a=1", "/new?a=1#part"),
        ({"to": "/new", "keep_query": False}, "/old?a=1", "/new"),
        ({"to": "/new"}, "/old?", "/new"),
        ({"to": "https://{request.host}{request.path}"}, "/a/b", "https://gw.test/a/b"),
        ({"to": "/grüß dich"}, "/", "/gr%C3%BC%C3%9F%20dich"),
        ({"to": '/{request.query["q"]}', "keep_query": False}, "/?q=a%20b%22", "/a%20b%22"),
    ],
)
def test_redirect_goes_there(bench, exchange, settings, target, location):
    reply = bench.policy("redirect", settings).on_request(exchange(target))
    assert reply.status == 302
    assert reply.headers.lines == [(b"location", location.encode())]


@pytest.mark.parametrize(
    ("to", "target"),
    [
        ("{request.path}", "/%2Fevil.test"),
        ("{request.path}", "/%2F%5Cevil.test"),
        ('/{request.query["q"]}', "/?q=/evil.test"),
        ('{request.query["q"]}', "/?q=//evil.test/login"),
        ('{request.query["q"]}', "/?q=HTTPS://evil.test"),
        ('{request.query["q"]}', "/?q=https:evil.test"),
        ('{request.query["q"]}', "/?q=javascript:alert(1)"),
    ],
)
def test_no_request_makes_a_redirect_lead_elsewhere(bench, exchange, to, target):
    with pytest.raises(Fault) as caught:
        bench.policy("redirect", {"to": to}).on_request(exchange(target))
    assert caught.value.status == 400
    assert "evil" not in caught.value.public


@pytest.mark.parametrize(
    ("to", "target", "location"),
    [
        ("{request.path}", "/%5Cevil.test", "/%5Cevil.test"),
        ('/{request.query["q"]}', "/?q=%5Cevil.test", "/%5Cevil.test"),
        ('{request.query["q"]}', "/?q=%5C%5Cevil.test", "%5C%5Cevil.test"),
        ('{request.query["q"]}', "/?q=%20//evil.test", "%20//evil.test"),
        ("/go{request.path}", "/%2Fevil.test", "/go//evil.test"),
        ("https://new.test{request.path}", "/%2Fevil.test", "https://new.test//evil.test"),
        ("https://{request.host}{request.path}", "/a", "https://gw.test/a"),
        ("//{request.host}/a", "/", "//gw.test/a"),
        ("//new.test/a", "/", "//new.test/a"),
        ("/at/12:30", "/", "/at/12:30"),
    ],
)
def test_what_is_written_out_or_encoded_stays(bench, exchange, to, target, location):
    reply = bench.policy("redirect", {"to": to, "keep_query": False}).on_request(exchange(target))
    assert reply.headers.lines == [(b"location", location.encode())]


def test_redirect_never_splits_a_field(bench, exchange):
    policy = bench.policy("redirect", {"to": '/{request.query["q"]}'})
    with pytest.raises(Fault) as caught:
        policy.on_request(exchange("/?q=%0d%0aSet-Cookie:%20a=1"))
    assert caught.value.status == 400


@pytest.mark.parametrize(
    ("settings", "why"),
    [({}, '"to" is missing'), ({"to": "/a", "status": 300}, "one of"), ({"to": "{"}, "never closed")],
)
def test_redirect_refusals(bench, settings, why):
    assert why in bench.refused("redirect", settings)


# ---- maintenance

# The twin's clock starts at 2023-11-14T22:13:20Z.
WINDOW = {"from": "2023-11-14T22:14:20Z", "to": "2023-11-15T00:15:20+01:00"}


def refused(policy, exchange, **request) -> Fault | None:
    try:
        assert policy.on_request(exchange(**request)) is None
    except Fault as fault:
        assert fault.status == 503
        return fault
    return None


@pytest.mark.parametrize(
    ("settings", "retry_after"),
    [({}, b"300"), ({"retry_after": "90s"}, b"90"), ({"retry_after": "100ms"}, b"1")],
)
def test_maintenance_without_windows_is_now(bench, exchange, settings, retry_after):
    fault = refused(bench.policy("maintenance", {**settings, "message": "Back soon."}), exchange)
    assert fault.public == "Back soon."
    assert fault.headers == ((b"retry-after", retry_after),)


def test_maintenance_keeps_to_its_window(bench, exchange):
    policy = bench.policy("maintenance", {"windows": [WINDOW], "allow": ["10.0.0.0/8"]})
    assert refused(policy, exchange) is None
    bench.clock.advance(60.0)
    assert refused(policy, exchange).headers == ((b"retry-after", b"3660"),)
    assert refused(policy, exchange, client="10.1.2.3") is None
    bench.clock.advance(3659.5)
    assert refused(policy, exchange).headers == ((b"retry-after", b"1"),)
    bench.clock.advance(0.5)
    assert refused(policy, exchange) is None


@pytest.mark.parametrize(
    ("settings", "why"),
    [
        (
            {"windows": [{"from": "2026-05-01T04:00:00Z", "to": "2026-05-01T02:00:00Z"}]},
            "ends after it begins",
        ),
        (
            {"windows": [{"from": "2026-05-01T04:00:00", "to": "2026-05-01T05:00:00Z"}]},
            "/with/windows/0/from",
        ),
        ({"windows": [{"from": "2026-05-01T04:00:00Z"}]}, '"to" is missing'),
        ({"allow": ["nowhere"]}, "nowhere"),
    ],
)
def test_maintenance_refusals(bench, settings, why):
    assert why in bench.refused("maintenance", settings)
