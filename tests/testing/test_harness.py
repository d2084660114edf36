"""The harness for authors of policies: what it plays, and what it tells."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
from twisted.internet.defer import Deferred
from zope.interface import implementer

from apigateway.config.model import Settings
from apigateway.errors import ConfigurationRefused
from apigateway.flow.faults import UPSTREAM_RESET
from apigateway.flow.interfaces import IOnRequest
from apigateway.flow.kinds import Call, Example, kind
from apigateway.flow.registry import Registered, Registry, discover
from apigateway.testing import Gateway, exchange, request, response, run_examples
from apigateway.wire.forwarding import last_hop

KINDS = discover(entry_points=False)


def gateway(given: Any = (), **more: Any) -> Gateway:
    return Gateway(given, registry=KINDS, **more)


def test_a_call_without_steps_reaches_the_upstream():
    answer = gateway().call("POST", "/a?b=1", headers={"X-One": "1"}, body=b"hello")
    assert (answer.status, answer.body, answer.fault) == (200, b"upstream", None)
    assert (answer.sent.method, answer.sent.target, answer.sent.body) == (b"POST", b"/a?b=1", b"hello")
    assert answer.sent.headers.get(b"x-one") == b"1" and answer.sent.headers.get(b"host") == b"one.test"
    assert answer.sent.complete


def test_steps_are_a_list_or_parts_of_a_configuration():
    step = {"policy": "set-headers", "with": {"set": {"X-Two": "2"}}}
    for given in ([step], {"pre_flow": {"request": [step]}}, {"apis": [
        {"name": "a", "routes": [{"name": "r", "upstream": "upstream", "pre_flow": {"request": [step]}}]}
    ]}):
        assert gateway(given).call().sent.headers.get(b"x-two") == b"2"


@pytest.mark.parametrize(
    ("given", "pointer"),
    [
        ([{"policy": "nonsense"}], "/pre_flow/request/0/policy"),
        ([{"policy": "set-headers", "with": {"sett": {}}}], "/pre_flow/request/0/with/sett"),
        ({"pre_flo": {}}, "/pre_flo"),
        ({"upstreams": []}, "/apis/0/routes/0/upstream"),
    ],
)
def test_what_is_wrong_is_told_as_a_worker_would(given, pointer):
    with pytest.raises(ConfigurationRefused) as caught:
        gateway(given)
    assert pointer in [problem.pointer for problem in caught.value.problems]


def test_the_upstream_answers_what_it_is_told():
    made = gateway(upstream=(404, {"X-Up": "1"}, b"none"))
    answer = made.call()
    assert (answer.status, answer.body, answer.headers.get(b"x-up")) == (404, b"none", b"1")
    assert made.call(upstream=(200, (), b"")).status == 200
    failed = made.call(upstream=UPSTREAM_RESET)
    assert failed.status == 502 and failed.fault.kind is UPSTREAM_RESET and failed.sent.complete


def test_time_passes_where_a_step_waits():
    made = gateway([{"policy": "mock", "with": {"delay": "250ms", "body": "late"}}])
    answer = made.call()
    assert (answer.body, answer.seconds, answer.sent) == (b"late", 0.25, None)
    assert made.timers.waiting() == []


def test_time_passes_between_calls_where_the_test_says_so():
    made = gateway([{"policy": "rate-limit", "with": {"limit": 1, "per": "1m", "by": "ip"}}])
    assert [made.call(after=after).status for after in (0, 1, 70)] == [200, 429, 200]


def test_consumers_are_those_of_a_configuration():
    key = "6ab9f1eb8f7d3388f4f9d586f66e99fd54080df2c446f0e58668b09c08a16dd0"  # of "k1"
    made = gateway([{"policy": "api-key"}], consumers=[{"name": "acme", "api_keys": [{"sha256": key}]}])
    answer = made.call(headers={"X-API-Key": "k1"})
    assert answer.exchange.identity.consumer == "acme"
    assert made.call().status == 401


def test_a_body_in_pieces_and_what_was_sent_of_it():
    made = gateway([{"policy": "message-size", "with": {"max": "5B"}}])
    assert made.call("POST", chunks=[b"he", b"llo"]).sent.body == b"hello"
    answer = made.call("POST", chunks=[b"he", b"llo!"])
    assert answer.status == 413 and answer.sent.body == b"he" and not answer.sent.complete


def test_an_answer_that_is_withheld_and_one_that_is_cut_off():
    made = gateway({"pre_flow": {"response": [{"policy": "message-size", "with": {"max": "5B"}}]}})
    withheld = made.call(upstream=(200, (), b"toolarge"))
    assert (withheld.status, withheld.cut) == (502, False)
    cut = made.call(upstream=(200, {"Content-Length": "5"}, b"toolarge"))
    assert (cut.status, cut.body, cut.cut) == (200, b"", True)
    assert not made.call(upstream=(200, (), b"fine")).cut


def test_a_client_that_waits_for_a_100():
    answer = gateway().call("POST", headers={"Expect": "100-continue"}, body=b"hello")
    assert [interim.status for interim in answer.interims] == [100]
    assert answer.seconds == 1.0 and answer.sent.body == b"hello"


def test_the_transcript_of_the_last_call():
    made = gateway()
    made.call()
    assert made.transcript == [
        "one: GET /", "one: end", "client: 200 8", "client: data upstream", "client: end", "client: done",
    ]


@implementer(IOnRequest)
class Never:
    """Waits for what does not come, without a timer of its own."""

    def __init__(self, config: Settings) -> None:
        pass

    def provision(self, services: Any) -> Any:
        later: Deferred[None] = Deferred()
        services.timers.call_later(3, later.callback, None)
        return later

    def close(self) -> None:
        pass

    def on_request(self, exchange: Any) -> Any:
        return Deferred()


def never(**more: Any) -> Registry:
    return Registry([Registered(kind("never", config=Settings, policy=Never), (), "", "", "", "path")])


def test_a_step_that_never_answers_is_ended_by_its_time():
    made = Gateway([{"policy": "never", "timeout": "2s"}], registry=never())
    answer = made.call()
    assert answer.fault.kind.slug == "step-timeout" and answer.seconds == 2.0


def test_a_provision_may_take_its_time():
    made = Gateway([{"policy": "never"}], registry=never())
    assert made.clock.monotonic() == 1003.0
    made.close()


# ---- builders


def test_a_request_is_what_the_gateways_own_reader_makes_of_it():
    fields = [("X-One", "1"), ("Connection", "x-hop"), ("X-Hop", "2"), ("X-Forwarded-For", "::1")]
    made = request("POST", "/a?b=1", fields, b"hi", host="api.test")
    assert (made.method, made.path, made.query, made.authority, made.length) == (b"POST", b"/a", b"b=1", b"api.test", 2)
    assert made.headers.lines == [(b"x-one", b"1")] and made.forwarded == [(b"x-forwarded-for", b"::1")]
    assert request(chunked=True, method="PUT").length is None
    assert request(version="1.0").version == "1.0"
    assert request("OPTIONS", "*", {"Max-Forwards": "0"}).target == b"*"
    assert last_hop(request("OPTIONS", "/", {"Max-Forwards": "0"}))


@pytest.mark.parametrize("call", [{"target": "/a b"}, {"headers": {"X": "a\r\nb: c"}}, {"headers": {"Host": "a b"}}])
def test_what_is_no_request_is_refused(call):
    with pytest.raises(ValueError, match="no request"):
        request(**call)


def test_responses_and_exchanges():
    assert response(204).bodiless and response(200, (), b"hi").length == 2
    head = response(200, {"Content-Length": "1234", "ETag": "x"}, to="HEAD")
    assert (head.bodiless, head.length, head.headers.lines) == (True, 1234, [(b"etag", b"x")])
    made = exchange(request("GET", "/x"), response(404), client="::1")
    assert (made.request.path, made.response.status, made.client, made.connection.peer) == (b"/x", 404, "::1", "::1")
    assert exchange().response is None


# ---- examples


def example(*calls: Call, **more: Any) -> tuple[str, ...]:
    found = KINDS.get("set-headers")
    made = Example("title", {"set": {"X-Two": "2"}}, calls, **more)
    results = run_examples(Registered(found.kind, (made,), "", found.module, "", "package"), KINDS)
    return results[0].failures


def test_an_example_that_holds():
    assert example(
        Call(method="POST", target="/a", body=b"b", status=200, sent=True, sent_target="/a", sent_body=b"b",
             fields={"x-two": None}, sent_fields={"x-two": "2", "x-one": None}, contains="upstream"),
    ) == ()


@pytest.mark.parametrize(
    ("call", "failure"),
    [
        (Call(status=201), "status is 200, not 201"),
        (Call(fields={"x-up": "1"}), "the answer has x-up: [], not '1'"),
        (Call(upstream=(200, (("X-Up", "1"), ("X-Up", "2")), b""), fields={"x-up": "1"}), "[b'1', b'2'], not '1'"),
        (Call(upstream=(200, (("X-Up", "1"),), b""), fields={"x-up": None}), "the answer has x-up"),
        (Call(contains="other"), "the body does not hold 'other'"),
        (Call(sent=False), "the upstream was called"),
        (Call(sent_target="/b"), "the upstream got the target b'/', not '/b'"),
        (Call(sent_fields={"x-two": "3"}), "the request sent has x-two: [b'2'], not '3'"),
        (Call(sent_body=b"x"), "the upstream got the body b'', not b'x'"),
    ],
)
def test_an_example_that_does_not(call, failure):
    failures = example(call)
    assert len(failures) == 1 and failure in failures[0]


def test_lines_of_a_repeated_field_are_told_apart():
    assert example(Call(upstream=(200, (("X", "1"), ("X", "2")), b""), fields={"x": "1\n2"})) == ()


def test_steps_before_and_behind_the_one_shown():
    mock = {"policy": "mock", "with": {"status": 201}}
    assert example(Call(status=201, sent=False), then=(mock,)) == ()
    assert example(Call(status=201, sent=False), before=(mock,)) == ()


def test_an_example_whose_settings_are_refused():
    found = KINDS.get("set-headers")
    broken = Example("title", {"sett": {}}, (Call(),))
    result = run_examples(Registered(found.kind, (broken,), "", found.module, "", "package"), KINDS)[0]
    assert not result.ok and "/pre_flow/request/0/with/sett" in result.failures[0]


# ---- trial


def test_policy_tests_run_under_trial_too(tmp_path):
    here = Path(__file__).parent
    ran = subprocess.run(
        [sys.executable, "-m", "twisted.trial", "policy_case"],
        cwd=tmp_path, env={"PYTHONPATH": f"{here.parent.parent}:{here}", "PATH": ""}, capture_output=True, text=True,
        timeout=60, check=False,
    )
    assert ran.returncode == 0, ran.stdout + ran.stderr
    assert "PASSED (successes=3)" in ran.stdout
