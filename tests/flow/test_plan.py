"""What a plan is made of, and what refuses one."""

from __future__ import annotations

from typing import Any

import pytest
from machine_kinds import GUARD, PIECES, SAY, WHOLE, Say, SayConfig, registry_of, say
from zope.interface import implementer

from apigateway.errors import ConfigurationRefused
from apigateway.flow.exchange import IDENTITY
from apigateway.flow.explaining import plan_view
from apigateway.flow.interfaces import IOnRequest
from apigateway.flow.kinds import kind
from apigateway.flow.steps import Gate, NeedBody
from apigateway.testing.live import Provisioned, Twins, configuration, draft_of

AUTH = kind("auth", config=SayConfig, policy=Say, guards=True, provides=(IDENTITY,))
ROLES = kind("roles", config=SayConfig, policy=Say, requires=(IDENTITY,))
BACK = kind("back", config=SayConfig, policy=Say, places=("response", "error"), requires=(IDENTITY,))
KINDS = registry_of(SAY, GUARD, WHOLE, PIECES, AUTH, ROLES, BACK)


def draft(given: Any):
    return draft_of(configuration(given), KINDS, Twins())


def plan(given: Any):
    return draft(given).plans[0]


def refused(given: Any) -> list[tuple[str, str]]:
    with pytest.raises(ConfigurationRefused) as caught:
        draft(given)
    return [(problem.pointer, problem.message) for problem in caught.value.problems]


def step(policy: str, **more: Any) -> dict[str, Any]:
    return {"policy": policy, **more}


def test_an_empty_plan_walks_nothing():
    made = plan([])
    assert (made.request, made.response, made.faults, made.logs, made.request_chunks) == ((), (), (), (), ())
    assert not made.gates and not made.edits_request


def test_a_gate_jumps_behind_what_it_stands_for():
    made = plan([say("a"), say("b", when="true"), step("whole", when="false", **{"with": {"request": 5}}), say("c")])
    kinds = [type(hook).__name__ for hook in made.request]
    assert kinds == ["method", "Gate", "method", "Gate", "NeedBody", "method", "method"]
    gates = [hook for hook in made.request if isinstance(hook, Gate)]
    assert [(gate.jump, gate.bit) for gate in gates] == [(3, 1), (6, 2)]
    assert [info and info.name for info in made.infos] == ["a", None, "b", None, None, "whole", "c"]


def test_a_conditional_flow_has_one_gate_for_all_of_its_steps():
    made = plan({"conditional_flows": [{"name": "f", "when": "true", "request": [say("a"), say("b", when="true")]}]})
    gates = [hook for hook in made.request if isinstance(hook, Gate)]
    assert [gate.jump for gate in gates] == [4, 4]
    assert [entry.mask for entry in made.faults] == [3, 1]


def test_a_condition_over_the_body_is_asked_behind_its_buffering():
    made = plan([say("a", when="request.json.x == 1")])
    assert isinstance(made.request[0], NeedBody) and isinstance(made.request[1], Gate)
    assert made.request[0].max == 1024 * 1024


def test_a_kind_of_one_direction_stands_in_that_one_only():
    made = plan([step("pieces")])
    assert [len(entries) for entries in (made.request_chunks, made.response_chunks)] == [1, 0]
    made = plan({"pre_flow": {"response": [step("pieces")]}})
    assert [len(entries) for entries in (made.request_chunks, made.response_chunks)] == [0, 1]
    assert made.edits_response and not made.edits_request


def test_a_step_in_the_shadow_edits_no_length_and_hears_of_no_fault():
    made = plan([step("pieces", mode="shadow"), say("a", mode="shadow")])
    assert not made.edits_request and made.faults == ()


def test_names_of_steps_are_unique_and_stable():
    made = plan([say("a"), say("a"), step("say")])
    assert [info.place for info in made.infos] == ["gateway/a", "gateway/a#2", "gateway/say"]


def test_a_plan_for_people():
    whole = step("whole", **{"with": {"request": 9, "response": 9}})
    flow = {"request": [say("a", when="true"), whole], "response": [say("b")]}
    view = plan_view(draft({"pre_flow": flow}), "api", "all")
    assert view["request"][0] == {"when": "true", "else_passes_over": 1}
    assert {"buffers": 9} in view["request"]
    assert [row["step"] for row in view["response"]] == ["whole", "a", "b"], "each once, whatever entries it has"
    assert view["upstream"] == "upstream"


# ---- refusals


@pytest.mark.parametrize(
    ("steps", "pointer", "message"),
    [
        ([step("sya")], "/pre_flow/request/0/policy", "there is no policy 'sya'"),
        ([step("back")], "/pre_flow/request/0", "back does not work under request"),
        ([step("guard", on_error="continue")], "/pre_flow/request/0/on_error", "guard guards"),
        ([step("say", **{"with": {"no": 1}})], "/pre_flow/request/0/with/no", "not known here"),
        ([say("a", when="no_such.thing")], "/pre_flow/request/0/when", "condition refused"),
        ([say("a", when="response.status == 1")], "/pre_flow/request/0/when", "condition refused"),
        ([step("roles")], "/pre_flow/request/0", "roles needs identity"),
        ([step("roles"), step("auth")], "/pre_flow/request/0", "roles needs identity"),
        ([step("auth", when="true"), step("roles")], "/pre_flow/request/1", "roles needs identity"),
        ([step("auth", mode="shadow"), step("roles")], "/pre_flow/request/1", "roles needs identity"),
    ],
)
def test_what_refuses_a_step(steps, pointer, message):
    problems = refused(steps)
    assert [found for found, _ in problems] == [pointer]
    assert message in problems[0][1]


def test_every_problem_is_told_at_once():
    problems = refused([step("sya"), step("roles"), say("a", when="(")])
    assert len(problems) == 3


def test_what_a_step_needs_may_come_from_any_flow_before_it():
    route = {"name": "r", "upstream": "upstream", "post_flow": {"request": [step("roles")], "response": [step("back")]}}
    assert plan({"pre_flow": {"request": [step("auth")]}, "apis": [{"name": "api", "routes": [route]}]}).request


def test_what_a_conditional_flow_provides_counts_inside_of_it_only():
    inside = {"name": "f", "when": "true", "request": [step("auth"), step("roles")]}
    assert plan({"conditional_flows": [inside]}).request
    problems = refused({"conditional_flows": [inside], "post_flow": {"request": [step("roles")]}})
    assert problems[0][0] == "/post_flow/request/0"


def test_a_response_step_finds_what_the_request_provided():
    assert plan({"pre_flow": {"request": [step("auth")], "response": [step("back")]}}).response
    problems = refused({"pre_flow": {"response": [step("back")]}})
    assert problems[0][0] == "/pre_flow/response/0"


@pytest.mark.parametrize(
    "flows",
    [
        {"pre_flow": {"request": [step("whole", **{"with": {"request": 9}})]}},
        {"pre_flow": {"response": [step("whole", **{"with": {"response": 9}})]}},
        {"pre_flow": {"request": [say("a", when="request.json.x == 1")]}},
        {"upstream": [{"when": "request.json.x == 1", "upstream": "upstream"}, {"upstream": "upstream"}]},
    ],
)
def test_a_route_that_is_a_stream_takes_nothing_that_buffers(flows):
    route = {"name": "r", "upstream": "upstream", "stream": True, **flows}
    problems = refused({"apis": [{"name": "api", "routes": [route]}]})
    assert all("declared as a stream" in message for _, message in problems) and problems


# ---- life


def lives(fails: frozenset[str] = frozenset()):
    """A kind that tells of its life in the list that is returned with it."""
    told: list[str] = []

    @implementer(IOnRequest)
    class Living:
        def __init__(self, config: SayConfig) -> None:
            self._name = config.name

        def provision(self, services: Any) -> None:
            if self._name in fails:
                raise OSError("not today")
            told.append(f"+{self._name}")

        def close(self) -> None:
            told.append(f"-{self._name}")

        def on_request(self, exchange: Any) -> None:
            return None

    return registry_of(kind("say", config=SayConfig, policy=Living)), told


def living(*names: str) -> Any:
    return configuration([say(name) for name in names])


def test_each_policy_is_provisioned_and_closed_once_in_reverse():
    registry, told = lives()
    settings, twins = living("a", "b"), Twins()
    made = Provisioned(settings, draft_of(settings, registry, twins), twins)
    assert told == ["+a", "+b"]
    made.close()
    assert told == ["+a", "+b", "-b", "-a"]


def test_a_provision_that_fails_closes_those_before_it_and_not_itself():
    registry, told = lives(frozenset("b"))
    settings, twins = living("a", "b", "c"), Twins()
    with pytest.raises(OSError):
        Provisioned(settings, draft_of(settings, registry, twins), twins)
    assert told == ["+a", "-a"]


def test_a_revision_is_closed_when_its_last_exchange_has_ended():
    registry, told = lives()
    settings, twins = living("a"), Twins()
    made = Provisioned(settings, draft_of(settings, registry, twins), twins)
    made.live.enter()
    made.close()
    assert told == ["+a"]
    made.live.leave()
    assert told == ["+a", "-a"]
