"""Response bodies that steps want whole, or see pass."""

from __future__ import annotations

import pytest
from machine_kinds import KINDS, say
from machine_play import Play

from apigateway.testing import Gateway


def whole(**settings):
    return {"policy": "whole", "with": settings}


def pieces(**settings):
    return {"policy": "pieces", "with": settings}


def answer_of(given, **call):
    gateway = Gateway(given, registry=KINDS)
    return gateway, gateway.call(**call)


def back(*steps):
    return {"pre_flow": {"response": list(steps)}}


def test_a_response_body_that_is_wanted_whole():
    play = Play(back(whole(response=100, add="!"))).run("""
        > GET /
        < one: GET /
        < one: end
        > one 200 ?
        > one data hello
        > one data world
        > one end x-sum=1
        < client: 200 11
        < client: data helloworld!
        < client: end x-sum=1
        < client: done
    """)
    assert play.exchange.octets_out == 11


@pytest.mark.parametrize("length", ["10", "?"])
def test_a_response_body_over_the_limit_is_withheld(length):
    play = Play(back(whole(response=9))).run(f"""
        > GET /
        < one: GET /
        < one: end
        > one 200 {length}
        > one data hello
        > one data world
        < one: cancel
        < client: 502 problem
        < client: data problem
        < client: end
        < client: done
    """)
    assert play.exchange.fault.kind.slug == "response-refused"


def test_a_second_step_has_a_limit_of_its_own_on_the_way_back_too():
    _, answer = answer_of(back(whole(response=100, add="?"), whole(response=8)))
    assert answer.status == 502


def test_a_reply_is_a_body_as_well():
    given = {"pre_flow": {"request": [say("a", request="reply")], "response": [whole(response=100, add="!")]}}
    _, answer = answer_of(given)
    assert answer.body == b"reply of a!"


@pytest.mark.parametrize("step", [whole(response=2, add="!"), pieces(tail="!")])
@pytest.mark.parametrize(
    ("method", "upstream"),
    [
        ("HEAD", (200, {"Content-Length": "1234"}, b"")),
        ("HEAD", (404, (), b"")),
        ("GET", (304, {"Content-Length": "9"}, b"")),
        ("GET", (204, (), b"")),
    ],
)
def test_steps_for_bodies_are_skipped_where_there_is_none(step, method, upstream):
    _, answer = answer_of(back(step), method=method, upstream=upstream)
    assert (answer.status, answer.body) == (upstream[0], b"")
    length = answer.exchange.response.length
    assert length == {200: 1234, 304: 9}.get(answer.status, length)
    assert answer.fault is None and not answer.cut


@pytest.mark.parametrize("status", [204, 304])
def test_a_step_that_makes_a_response_one_without_a_body(status):
    """The octets that come all the same go nowhere."""
    play = Play(back(say("a", response="wait"))).run("""
        > GET /
        < one: GET /
        < one: end
        > one 200 8
        < one: pause
    """)
    play.exchange.response.status = status
    play.run(f"""
        > fire a
        < one: resume
        < one: cancel
        < client: {status} 8
        < client: end
        < client: done
    """)
    assert play.client.head.bodiless


def test_pieces_of_a_response():
    Play(back(pieces(tail="!"))).run("""
        > GET /
        < one: GET /
        < one: end
        > one 200 10
        < client: 200 ?
        > one data hello
        < client: data HELLO
        > one data world
        < client: data WORLD
        > one end
        < client: data !
        < client: end
        < client: done
    """)


def test_a_head_does_not_wait_for_a_piece_that_is_kept_back():
    Play(back(pieces(lose="x"))).run("""
        > GET /
        < one: GET /
        < one: end
        > one 200 ? more
        < client: 200 ?
        > one data x
        < client: data
        > one data x
        > one data y
        < client: data Y
        > one end
        < client: end
        < client: done
    """)


@pytest.mark.parametrize("settings", [{"fail_on": "w"}, {"fault_on": "w"}])
def test_a_piece_that_fails_cuts_the_answer_off(settings):
    play = Play(back(pieces(**settings))).run("""
        > GET /
        < one: GET /
        < one: end
        > one 200 10
        < client: 200 ?
        > one data hello
        < client: data HELLO
        > one data world
        < one: cancel
        < client: abort
        < client: done
    """)
    assert play.exchange.fault.step == "pieces" and play.exchange.status == 200


def test_what_comes_while_a_response_step_is_waited_for_is_held_and_the_upstream_paused():
    Play(back(say("slow", response="wait"))).run("""
        > GET /
        < one: GET /
        < one: end
        > one 200 10
        < one: pause
        > one data hello
        > fire slow
        < one: resume
        < client: 200 10
        < client: data hello
        > one data world
        < client: data world
        > one end
        < client: end
        < client: done
    """)


def test_a_step_that_waits_and_then_one_that_wants_the_body():
    Play(back(say("slow", response="wait"), whole(response=100))).run("""
        > GET /
        < one: GET /
        < one: end
        > one 200 10
        < one: pause
        > one data hello
        > fire slow
        < one: resume
        > one data world
        > one end
        < client: 200 10
        < client: data helloworld
        < client: end
        < client: done
    """)


def test_one_that_wants_the_body_and_then_one_that_waits():
    Play(back(whole(response=100), say("slow", response="wait"))).run("""
        > GET /
        < one: GET /
        < one: end
        > one 200 2
        > one data ok
        > one end
        > fire slow
        < client: 200 2
        < client: data ok
        < client: end
        < client: done
    """)


def test_an_upstream_that_fails_while_its_body_is_collected():
    Play(back(whole(response=100))).run("""
        > GET /
        < one: GET /
        < one: end
        > one 200 10
        > one data hello
        > one failed incomplete
        < client: 502 problem
        < client: data problem
        < client: end
        < client: done
    """)


def test_an_upstream_that_fails_while_a_response_step_is_waited_for():
    play = Play(back(say("slow", response="wait"))).run("""
        > GET /
        < one: GET /
        < one: end
        > one 200 10
        < one: pause
        > one failed incomplete
        < client: 502 problem
        < client: data problem
        < client: end
        < client: done
    """)
    assert play.cancelled == ["slow"]


def test_an_upstream_that_fails_inside_the_body_cuts_the_client_off():
    play = Play().run("""
        > GET /
        < one: GET /
        < one: end
        > one 200 10
        < client: 200 10
        > one data hello
        < client: data hello
        > one failed incomplete
        < client: abort
        < client: done
    """)
    assert play.exchange.fault.kind.slug == "incomplete-response"
    assert play.driver.told == [("upstream", "one", "incomplete-response")]
