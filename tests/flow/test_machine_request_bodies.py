"""Request bodies that steps want whole, or see pass."""

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


# ---- requests, whole


def test_nothing_is_sent_before_a_wanted_body_is_whole():
    play = Play([whole(request=100, add="!")]).run("""
        > POST / 10
        < client: resume
        > data hello
        > data world
        > end
        < one: POST / 11
        < one: data helloworld!
        < client: resume
        < one: end
        > one 204
        < client: 204 ?
        > one end
        < client: end
        < client: done
    """)
    assert play.exchange.notes["request body"] == "helloworld"


def test_a_body_of_unknown_length_has_one_when_it_was_whole():
    Play([whole(request=100)]).run("""
        > POST / ?
        < client: resume
        > data hello
        > end x-sum=1
        < one: POST / 5
        < one: data hello
        < client: resume
        < one: end x-sum=1
        > gone
        < one: cancel
        < client: done
    """)


def test_a_request_without_a_body_has_an_empty_one():
    _, answer = answer_of([whole(request=100)])
    assert answer.exchange.notes["request body"] == "" and answer.sent.body == b""


@pytest.mark.parametrize("call", [{}, {"method": "POST"}])
def test_a_step_may_give_a_body_to_a_request_that_has_none(call):
    _, answer = answer_of([whole(request=100, add="given")], **call)
    assert answer.sent.body == b"given" and answer.exchange.request.length == 5


def test_what_a_step_gave_ends_once():
    """The client's connection tells of the end of a request without a body, too, when its head was dealt with."""
    Play([whole(request=100, add="given")]).run("""
        > GET /
        < one: GET / 5
        < one: data given
        < client: resume
        < one: end
        > end
        > one 204
        < client: 204 ?
        > one end
        < client: end
        < client: done
    """)


def test_an_announced_length_over_the_limit_is_refused_before_anything_is_read():
    Play([whole(request=9)]).run("""
        > POST / 10
        < client: 413 problem
        < client: data problem
        < client: end
        < client: done
    """)


def test_an_unannounced_length_is_refused_as_soon_as_it_is_over():
    play = Play([whole(request=9)]).run("""
        > POST / ?
        < client: resume
        > data hello
        > data world
        < client: 413 problem
        < client: data problem
        < client: end
        < client: done
        > data more
    """)
    assert play.exchange.octets_in == 10


@pytest.mark.parametrize("length", ["9", "?"])
def test_the_limit_itself_passes(length):
    play = Play([whole(request=9)])
    play.run_freely(f"> POST / {length}", "> data nineoctet", "> end")
    assert play.driver.attempts[0].body == b"nineoctet"


def test_a_limit_of_nothing_at_all():
    Play([whole(request=0)]).run("""
        > POST / ?
        < client: resume
        > data x
        < client: 413 problem
        < client: data problem
        < client: end
        < client: done
    """)
    Play([whole(request=0)]).run("""
        > POST / ?
        < client: resume
        > end
        < one: POST / 0
        < client: resume
        < one: end
        > gone
        < one: cancel
        < client: done
    """.replace("POST / 0", "POST /"))


@pytest.mark.parametrize("call", [{"body": b"sixsix"}, {"chunks": [b"six", b"six"]}])
def test_a_second_step_has_a_limit_of_its_own(call):
    """What the first one may buffer, and what it made of it, is not what the second may."""
    _, answer = answer_of([whole(request=100), whole(request=5)], method="POST", **call)
    assert answer.status == 413 and answer.sent is None
    _, answer = answer_of([whole(request=100, add="?"), whole(request=6)], method="POST", **call)
    assert answer.status == 413 and answer.sent is None


def test_two_steps_share_one_body():
    steps = [whole(request=100, add="1"), say("a"), whole(request=100, add="2")]
    _, answer = answer_of(steps, method="POST", body=b"0")
    assert answer.sent.body == b"012"


def test_a_body_that_comes_while_another_step_is_waited_for():
    play = Play([say("slow", request="wait"), whole(request=100)]).run("""
        > POST / 10
        > data hello
        < client: pause
        > fire slow
        < client: resume
        > data world
        > end
        < one: POST / 10
        < one: data helloworld
        < client: resume
        < one: end
        > gone
        < one: cancel
        < client: done
    """)
    assert play.exchange.notes["request body"] == "helloworld"


def test_a_body_that_is_complete_before_it_is_wanted():
    Play([say("slow", request="wait"), whole(request=100)]).run("""
        > POST / 5
        > data hello
        < client: pause
        > end
        > fire slow
        < one: POST / 5
        < one: data hello
        < client: resume
        < one: end
        > gone
        < one: cancel
        < client: done
    """)


def test_a_body_that_comes_while_a_step_is_waited_for_and_nobody_wants_whole():
    Play([say("slow", request="wait")]).run("""
        > POST / 10
        > data hello
        < client: pause
        > fire slow
        < one: POST / 10
        < one: data hello
        < client: resume
        > data world
        < one: data world
        > end
        < one: end
        > gone
        < one: cancel
        < client: done
    """)


def test_a_body_that_comes_while_a_fault_is_shaped_is_not_kept():
    play = Play([say("no", request="fault", fault="wait")])
    play.run_freely("> POST / ?", "> data much", "> data more", "> end")
    assert play.machine.upload.held == []
    play.run_freely("> fire no")
    assert play.client.head.status == 403
    play.check()


def test_a_client_that_breaks_the_protocol_inside_its_body():
    play = Play([whole(request=100)]).run("""
        > POST / ?
        < client: resume
        > data hello
        > refused 400
        < client: 400 problem
        < client: data problem
        < client: end
        < client: done
    """)
    assert play.exchange.fault.public == "the client broke the protocol"


def test_and_after_the_upstream_was_called():
    Play().run("""
        > POST / ?
        < one: POST / ?
        < client: resume
        > refused 400
        < one: cancel
        < client: 400 problem
        < client: data problem
        < client: end
        < client: done
    """)


def test_a_choice_of_upstream_by_the_body_buffers_it_after_the_request_steps():
    upstreams = [{"name": name, "targets": [{"name": name, "url": f"http://{name}.test"}]} for name in ("a", "b")]
    choice = [{"when": 'request.json.kind == "a"', "upstream": "a"}, {"upstream": "b"}]
    route = {"name": "r", "upstream": choice, "max_buffer": "64B"}
    given = {"upstreams": upstreams, "apis": [{"name": "api", "routes": [route]}]}
    for kind, name in (("a", "a"), ("c", "b")):
        _, answer = answer_of(given, method="POST", body=b'{"kind":"%s"}' % kind.encode())
        assert answer.exchange.upstream == name
    _, answer = answer_of({**given, "pre_flow": {"request": [say("no", request="fault")]}}, method="POST", body=b"{}")
    assert answer.status == 403 and answer.exchange.request.body is None
    _, answer = answer_of(given, method="POST", body=b"x" * 65)
    assert answer.status == 413


# ---- requests, in pieces


def test_pieces_pass_through_the_steps_in_order_and_the_length_is_void():
    Play([pieces(tail="1"), pieces(tail="2")]).run("""
        > POST / 10
        < one: POST / ?
        < client: resume
        > data hello
        < one: data HELLO
        > data world
        < one: data WORLD
        > end
        < one: data 12
        < one: end
        > gone
        < one: cancel
        < client: done
    """)


@pytest.mark.parametrize(("settings", "status"), [({"fail_on": "w"}, 500), ({"fault_on": "w"}, 413)])
def test_a_piece_may_be_refused_while_the_upload_runs(settings, status):
    play = Play([pieces(**settings)]).run(f"""
        > POST / 10
        < one: POST / ?
        < client: resume
        > data hello
        < one: data HELLO
        > data world
        < one: cancel
        < client: {status} problem
        < client: data problem
        < client: end
        < client: done
        > end
    """)
    assert play.exchange.fault.step == "pieces"


def test_a_piece_that_is_refused_after_the_response_began_cuts_it_off():
    Play([pieces(fault_on="w")]).run("""
        > POST / 10
        < one: POST / ?
        < client: resume
        > one 200 ?
        < client: 200 ?
        > one data early
        < client: data early
        > data world
        < one: cancel
        < client: abort
        < client: done
    """)


def test_a_step_passed_over_sees_no_piece():
    _, answer = answer_of([{**pieces(), "when": "false"}], method="POST", body=b"quiet")
    assert answer.sent.body == b"quiet" and answer.exchange.request.length == 5


def test_a_body_that_was_whole_goes_through_the_pieces_too():
    _, answer = answer_of([whole(request=100, add="!"), pieces(tail="?")], method="POST", body=b"a")
    assert answer.sent.body == b"A!?"


# ---- trailer fields


def test_what_a_step_withholds_does_not_come_behind_the_body():
    play = Play().run("""
        > POST / ?
        < one: POST / ?
        < client: resume
        > data hello
        < one: data hello
    """)
    play.exchange.request.withhold(frozenset((b"x-client", b"x-gone")))
    play.run("""
        > end x-client=lie x_client=lie x-sum=1
        < one: end x-sum=1
        > gone
        < one: cancel
        < client: done
    """)
