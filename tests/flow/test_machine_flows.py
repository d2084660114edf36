"""Which steps run, in which order, and what their verdicts do."""

from __future__ import annotations

import pytest
from machine_kinds import KINDS, say, trace_of
from machine_play import Play

from apigateway.flow.faults import INTERNAL, STEP_TIMEOUT
from apigateway.testing import Gateway


def flow(*names: str, response: tuple[str, ...] = (), **settings):
    return {"request": [say(name, **settings) for name in names], "response": [say(name) for name in response]}


def conditional(name: str, when: str, *names: str):
    return {"name": name, "when": when, **flow(*names)}


def everywhere(**more):
    """Steps in every flow of gateway, Api and route: g, a and r, then pre, c (a conditional flow) and post."""
    level = {
        letter: {
            "pre_flow": flow(f"{letter}-pre", response=(f"{letter}-pre-back",)),
            "conditional_flows": [
                conditional("yes", "true", f"{letter}-yes"), conditional("no", "false", f"{letter}-no")
            ],
            "post_flow": flow(f"{letter}-post", response=(f"{letter}-post-back",)),
        }
        for letter in "gar"
    }
    route = {"name": "all", "upstream": "upstream", **level["r"]}
    return {**level["g"], "apis": [{"name": "api", **level["a"], "routes": [{**route, **more}]}]}


INWARD = ["g-pre", "a-pre", "r-pre", "g-yes", "a-yes", "r-yes", "g-post", "a-post", "r-post"]
OUTWARD = [
    "r-post", "r-post-back", "a-post", "a-post-back", "g-post", "g-post-back", "r-yes", "a-yes", "g-yes",
    "r-pre", "r-pre-back", "a-pre", "a-pre-back", "g-pre", "g-pre-back",
]


def of(trace: list[str], hook: str) -> list[str]:
    return [line.partition(".")[0] for line in trace if line.endswith(f".{hook}")]


def answer_of(given, **call):
    gateway = Gateway(given, registry=KINDS)
    return gateway, gateway.call(**call)


def test_requests_go_inward_and_responses_outward():
    _, answer = answer_of(everywhere())
    trace = trace_of(answer.exchange)
    assert of(trace, "request") == INWARD
    assert of(trace, "response") == OUTWARD
    assert of(trace, "log") == OUTWARD and of(trace, "fault") == []
    assert trace[-1].endswith(".log")


def test_steps_of_one_flow_answer_in_reverse_and_then_its_response_steps():
    given = {"pre_flow": {"request": [say("a"), say("b")], "response": [say("c"), say("d")]}}
    _, answer = answer_of(given)
    assert trace_of(answer.exchange)[:6] == [
        "a.request", "b.request", "b.response", "a.response", "c.response", "d.response",
    ]


@pytest.mark.parametrize("at", INWARD)
@pytest.mark.parametrize(("said", "hook", "status"), [("reply", "response", 200), ("fault", "fault", 403)])
def test_a_verdict_is_seen_by_the_steps_that_were_reached(at, said, hook, status):
    """At each place: what comes behind it runs in no direction, what was reached runs on the way back."""
    given = everywhere()
    place = {"g": given, "a": given["apis"][0], "r": given["apis"][0]["routes"][0]}[at[0]]
    flow_of = place["conditional_flows"][0] if at.endswith("yes") else place[f"{at[2:]}_flow"]
    flow_of["request"][0]["with"]["request"] = said
    gateway, answer = answer_of(given)
    trace = trace_of(answer.exchange)
    reached = INWARD[: INWARD.index(at) + 1]
    assert of(trace, "request") == reached
    assert of(trace, hook) == [name for name in OUTWARD if name.removesuffix("-back") in reached]
    assert of(trace, "log") == of(trace, hook)
    assert answer.sent is None and answer.status == status
    gateway.close()


def test_a_condition_is_asked_once_and_just_before_its_flow_would_run():
    """A step before it may change what it asks; what the flow itself changes changes nothing."""
    given = {
        "pre_flow": {"request": [{"policy": "whole", "with": {}}]},
        "conditional_flows": [conditional("get", 'request.method == "GET"', "one"),
                              conditional("late", 'request.headers["x-late"] == "yes"', "two")],
    }
    _, answer = answer_of(given, headers={"X-Late": "yes"})
    assert trace_of(answer.exchange) == [
        "one.request", "two.request", "one.response", "two.response", "one.log", "two.log",
    ]
    _, answer = answer_of(given, method="POST")
    assert trace_of(answer.exchange) == []


def test_a_step_passed_over_on_the_request_is_passed_over_on_the_response():
    _, answer = answer_of([say("a", when='request.headers["x"] == "1"'), say("b")])
    assert trace_of(answer.exchange) == ["b.request", "b.response", "b.log"]


def test_when_of_a_response_step_asks_the_response():
    steps = [say("a", when="response.status == 404"), say("b", when="response.status == 200")]
    given = {"pre_flow": {"response": steps}}
    _, answer = answer_of(given)
    assert trace_of(answer.exchange) == ["b.response", "b.log"]


def test_when_of_a_response_step_is_asked_of_a_fault_too():
    given = {
        "pre_flow": {
            "request": [say("no", request="fault")],
            "response": [say("a", when="response.status == 403"), say("b", when="response.status == 200")],
        }
    }
    _, answer = answer_of(given)
    assert trace_of(answer.exchange) == ["no.request", "no.fault", "a.fault", "no.log", "a.log"]


@pytest.mark.parametrize("when", ["response.status == 404", "response.status == 200"])
def test_when_of_a_response_step_holds_for_its_body_too(when):
    given = {"pre_flow": {"response": [{"policy": "pieces", "with": {"tail": "!"}, "when": when}]}}
    _, answer = answer_of(given)
    assert answer.body == (b"UPSTREAM!" if "200" in when else b"upstream")
    given = {"pre_flow": {"response": [{"policy": "whole", "with": {"response": 4}, "when": when}]}}
    _, answer = answer_of(given)
    assert answer.status == (502 if "200" in when else 200)


def test_a_condition_that_fails_is_a_fault_never_false():
    _, answer = answer_of([say("a", when="request.json.role == 'x'")], method="POST", body=b"no json")
    assert answer.sent is None and answer.status in (400, 500)
    assert trace_of(answer.exchange) == []


# ---- faults


def test_a_fault_goes_to_the_steps_reached_then_to_the_innermost_error_flow():
    given = everywhere(error_flow=[say("r-error"), say("r-error-too")])
    given["error_flow"] = [say("g-error")]
    given["apis"][0]["routes"][0]["pre_flow"]["request"][0]["with"]["request"] = "fault"
    _, answer = answer_of(given)
    assert of(trace_of(answer.exchange), "fault") == [
        "r-pre", "r-pre-back", "a-pre", "a-pre-back", "g-pre", "g-pre-back", "r-error", "r-error-too",
    ]
    assert answer.status == 403 and answer.headers.get(b"content-type") == b"application/problem+json"
    assert b"r-pre refuses" in answer.body


@pytest.mark.parametrize(("level", "name"), [("r", "r-error"), ("a", "a-error"), ("g", "g-error")])
def test_the_innermost_error_flow_that_is_named(level, name):
    given = {"pre_flow": flow("no", request="fault"), "error_flow": [say("g-error")]}
    api = {"name": "api", "routes": [{"name": "all", "upstream": "upstream"}]}
    if level != "g":
        api["error_flow"] = [say("a-error")]
    if level == "r":
        api["routes"][0]["error_flow"] = [say("r-error")]
    _, answer = answer_of({**given, "apis": [api]})
    assert of(trace_of(answer.exchange), "fault") == ["no", name]


def test_a_request_that_no_route_takes_goes_to_the_error_flow_of_the_gateway():
    api = {"name": "api", "base_path": "/a", "routes": [{"name": "all", "upstream": "upstream"}]}
    _, answer = answer_of({"pre_flow": flow("a"), "error_flow": [say("g-error")], "apis": [api]}, target="/b")
    assert (answer.status, trace_of(answer.exchange)) == (404, ["g-error.fault"])


@pytest.mark.parametrize(("said", "status", "slug"), [("error", 500, "internal"), ("number", 500, "internal")])
def test_any_other_exception_is_an_internal_fault_without_its_text(said, status, slug):
    gateway, answer = answer_of([say("a", request=said), say("b")])
    assert answer.status == status and answer.fault.kind.slug == slug and answer.fault.step == "a"
    assert answer.sent is None and of(trace_of(answer.exchange), "request") == ["a"]
    incident = answer.fault.members["incident"].encode()
    assert incident in answer.body and b"swordfish" not in answer.body
    failed = [fields for _, message, fields in gateway.events.events if message == "a policy failed"]
    assert [fields["step"] for fields in failed] == ["gateway/a"]
    assert failed[0]["incident"].encode() == incident
    assert ("swordfish" in failed[0]["traceback"]) == (said == "error")


@pytest.mark.parametrize("place", ["reached", "error flow"])
@pytest.mark.parametrize("said", ["error", "fault", "number"])
def test_nothing_that_happens_while_a_fault_is_shaped_makes_it_worse(place, said):
    steps = [say("no", request="fault", fault=said if place == "reached" else "go")]
    errors = [say("e1", fault=said if place == "error flow" else "go"), say("e2")]
    gateway, answer = answer_of({"pre_flow": {"request": steps}, "error_flow": errors})
    assert answer.status == 403 and b"no refuses" in answer.body
    assert of(trace_of(answer.exchange), "fault") == ["no", "e1", "e2"]
    failed = [message for _, message, _ in gateway.events.events if message == "a policy failed"]
    assert len(failed) == (said != "fault")


def test_a_reply_in_an_error_flow_replaces_the_draft_body_and_all():
    given = {"pre_flow": flow("no", request="fault"), "error_flow": [say("e1", fault="reply"), say("e2")]}
    _, answer = answer_of(given)
    assert (answer.status, answer.body, answer.headers.get(b"x-by")) == (200, b"reply of e1", b"e1")
    assert of(trace_of(answer.exchange), "fault") == ["no", "e1", "e2"]
    assert answer.fault.kind.slug == "forbidden"


def test_the_error_flow_asks_when_of_its_steps():
    given = {
        "pre_flow": flow("no", request="fault"),
        "error_flow": [say("e1", when="response.status == 404"), say("e2", when="response.status == 403")],
    }
    _, answer = answer_of(given)
    assert of(trace_of(answer.exchange), "fault") == ["no", "e2"]


def test_a_log_hook_that_fails_harms_nobody():
    gateway, answer = answer_of([say("a", log="error"), say("b")])
    assert answer.status == 200 and of(trace_of(answer.exchange), "log") == ["b", "a"]
    assert [message for _, message, _ in gateway.events.events] == ["a policy failed"]


# ---- replies on the way back


def test_a_reply_of_a_response_hook_replaces_the_response():
    play = Play([say("a"), say("b", response="reply"), say("c")]).run("""
        > GET /
        < one: GET /
        < one: end
        > one 200 8
        < one: cancel
        < client: 200 10
        < client: data reply of b
        < client: end
        < client: done
    """)
    assert of(play.trace, "response") == ["c", "b", "a"]
    assert play.driver.told == [("upstream", "one", "replaced")]


def test_a_reply_takes_nothing_over_from_the_response_it_replaces():
    """Not even its trailers, which came already."""
    Play([say("late", response="wait")]).run("""
        > GET /
        < one: GET /
        < one: end
        > one 200 ?
        < one: pause
        > one data secret
        > one end x-sum=1
        > fire late reply
        < client: 200 13
        < client: data reply of late
        < client: end
        < client: done
    """)


def test_a_fault_takes_nothing_over_either():
    Play([say("late", response="wait")]).run("""
        > GET /
        < one: GET /
        < one: end
        > one 200 ?
        < one: pause
        > one data secret
        > one end x-sum=1
        > fire late fault
        < client: 403 problem
        < client: data problem
        < client: end
        < client: done
    """)


def test_a_reply_without_a_body_after_a_response_with_one():
    Play([say("a", response="empty")]).run("""
        > GET /
        < one: GET /
        < one: end
        > one 200 8
        < one: cancel
        < client: 204 ?
        < client: end
        < client: done
    """)


def test_a_reply_to_head_has_its_length_and_no_body():
    Play([say("a", request="reply")]).run("""
        > HEAD /
        < client: 200 10
        < client: end
        < client: done
    """)


# ---- steps that take their time


@pytest.mark.parametrize("said", ["go", "reply", "fault", "error", "number"])
def test_an_awaited_verdict_is_the_same_as_one_at_once(said):
    seen = []
    for how in (said, "wait"):
        play = Play([say("a", request=how), say("b")])
        play.run_freely("> GET /")
        if how == "wait":
            assert play.waiting and play.client.head is None
            play.run_freely(f"> fire a {said}")
        seen.append((play.state, play.client.head and play.client.head.status, play.trace))
    assert seen[0] == seen[1]


def test_a_coroutine_is_awaited():
    _, answer = answer_of([say("a", request="async", response="async", fault="async")])
    assert answer.status == 200 and answer.seconds == 0.0


def test_a_step_that_takes_too_long_is_a_fault():
    play = Play([say("slow", request="wait", timeout="2s"), say("b")]).run("""
        > GET /
        > wait 1.9
        > wait 0.1
        < client: 500 problem
        < client: data problem
        < client: end
        < client: done
    """)
    assert play.exchange.fault.kind is STEP_TIMEOUT and play.exchange.fault.step == "slow"
    assert play.cancelled == ["slow"]
    assert play.trace == ["slow.request", "slow.fault", "slow.log"]


def test_what_a_step_says_too_late_is_ignored():
    play = Play([say("slow", request="deaf", timeout="2s")])
    play.run_freely("> GET /")
    waiting = play.waiting["slow"]
    play.run_freely("> wait 2")
    waiting.callback(None)
    assert play.recorder.take()[-1] == "client: done"
    play.check()


@pytest.mark.parametrize("hook", ["response", "fault"])
def test_hooks_of_the_way_back_have_the_same_time(hook):
    steps = [say("slow", timeout="2s", **{hook: "wait"})]
    if hook == "fault":
        steps.append(say("no", request="fault"))
    _, answer = answer_of(steps)
    assert answer.seconds == 2.0
    assert answer.status == (500 if hook == "response" else 403)


# ---- lenient, in the shadow


@pytest.mark.parametrize("said", ["error", "number", "wait"])
@pytest.mark.parametrize("hook", ["request", "response"])
def test_on_error_continue_passes_errors_over(hook, said):
    gateway, answer = answer_of([say("a", on_error="continue", timeout="1s", **{hook: said}), say("b")])
    assert answer.status == 200 and answer.sent is not None
    assert gateway.metrics.counted == [("step", "a", "say", "error-continued")]


@pytest.mark.parametrize("said", ["fault", "reply"])
def test_on_error_continue_passes_no_verdict_over(said):
    _, answer = answer_of([say("a", on_error="continue", request=said)])
    assert answer.sent is None and answer.status == (403 if said == "fault" else 200)


def test_on_error_continue_holds_for_pieces_of_a_body():
    steps = [{"policy": "pieces", "with": {"fail_on": "b", "fault_on": "z"}, "on_error": "continue"}]
    _, answer = answer_of(steps, method="POST", chunks=[b"a", b"b", b"c"])
    assert answer.sent.body == b"AbC"
    _, answer = answer_of(steps, method="POST", chunks=[b"a", b"z"])
    assert answer.status == 413


@pytest.mark.parametrize("hook", ["request", "response"])
@pytest.mark.parametrize(
    ("said", "told"),
    [("reply", "shadow-reply"), ("fault", "shadow-fault"), ("error", "shadow-error"), ("number", "shadow-error"),
     ("wait", "shadow-error"), ("async", "shadow-pass")],
)
def test_a_step_in_the_shadow_is_evaluated_and_never_enforced(hook, said, told):
    gateway, answer = answer_of([say("a", mode="shadow", timeout="1s", **{hook: said}), say("b")])
    assert answer.status == 200 and answer.body == b"upstream" and answer.fault is None
    assert ("step", "a", "say", told) in gateway.metrics.counted
    assert "shadow.a" in answer.exchange.notes


def test_a_step_in_the_shadow_changes_no_message():
    steps = [{"policy": "whole", "mode": "shadow", "with": {"request": 100, "response": 100, "add": "!"}}]
    _, answer = answer_of(steps, method="POST", body=b"body")
    assert answer.sent.body == b"body" and answer.body == b"upstream"
    assert answer.exchange.notes["request body"] == "body"
    assert answer.exchange.notes["response body"] == "upstream"


def test_a_step_in_the_shadow_refuses_no_body_by_its_size():
    steps = [{"policy": "whole", "mode": "shadow", "with": {"request": 4, "response": 4}}, say("b")]
    for call in ({"body": b"too large"}, {"chunks": [b"too", b" ", b"large"]}):
        _, answer = answer_of(steps, method="POST", **call)
        assert answer.status == 200 and answer.sent.body == b"too large" and answer.body == b"upstream"
        assert answer.exchange.notes["shadow.whole"] == "fault response-refused"
        assert of(trace_of(answer.exchange), "request") == ["b"]


def test_a_condition_that_fails_in_the_shadow_refuses_nothing():
    given = {"pre_flow": {"request": [say("a", mode="shadow", when="request.headers['n'].size() / 0 == 1"), say("b")],
                          "response": [say("c", mode="shadow", when="response.status / 0 == 1")]}}
    _, answer = answer_of(given)
    assert answer.status == 200 and of(trace_of(answer.exchange), "request") == ["b"]
    assert "shadow.a" in answer.exchange.notes and "shadow.c" in answer.exchange.notes


def test_a_number_that_a_hook_returns_by_mistake_passes_over_nothing():
    """An index of the plan is a number too: no guard may be jumped over by one."""
    _, answer = answer_of([say("a", request="number"), *(say(f"s{n}") for n in range(8)),
                           {"policy": "guard", "with": {"request": "fault"}}])
    assert answer.fault.kind is INTERNAL and answer.sent is None
