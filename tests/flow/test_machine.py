"""The machine's way from a request head to the end of the answer, where nothing goes wrong."""

from __future__ import annotations

import pytest
from machine_kinds import say, to
from machine_play import Play


def test_a_plain_request():
    play = Play().run("""
        > GET /a?b=1
        < one: GET /a?b=1
        < one: end
        > one 200 2
        < client: 200 2
        > one data ok
        < client: data ok
        > one end
        < client: end
        < client: done
    """)
    assert play.driver.told == [("upstream", "one", "ok")]
    assert (play.exchange.status, play.exchange.octets_out, play.exchange.attempts) == (200, 2, 1)
    assert play.exchange.fault is None


def test_a_connection_may_have_to_be_opened():
    Play(kept=()).run("""
        > GET /
        < open one
        > one opened
        < one: GET /
        < one: end
        > one 204
        < client: 204 ?
        > one end
        < client: end
        < client: done
    """)


def test_a_body_passes_as_it_comes():
    play = Play().run("""
        > POST /a 10
        < one: POST /a 10
        < client: resume
        > data hello
        < one: data hello
        > data world
        < one: data world
        > end
        < one: end
        > one 201 ?
        < client: 201 ?
        > one data made
        < client: data made
        > one end
        < client: end
        < client: done
    """)
    assert (play.exchange.octets_in, play.exchange.octets_out) == (10, 4)


def test_trailers_pass_both_ways():
    Play().run("""
        > POST / ?
        < one: POST / ?
        < client: resume
        > end x-sum=1
        < one: end x-sum=1
        > one 200 ?
        < client: 200 ?
        > one end x-count=2
        < client: end x-count=2
        < client: done
    """)


def test_interim_responses_pass_before_the_final_one():
    Play().run("""
        > GET /
        < one: GET /
        < one: end
        > one 103
        < client: 103
        > one 200 0
        < client: 200 0
        > one end
        < client: end
        < client: done
    """)


def test_host_prefix_and_forwarding_lines_are_the_gateways():
    play = Play(to({"name": "one", "url": "http://one.test:81/base"})).run("""
        > GET /a | X-Forwarded-For: 198.51.100.1
        < one: GET /base/a
        < one: end
        > gone
        < one: cancel
        < client: done
    """)
    headers = play.driver.attempts[0].headers
    assert headers.get(b"host") == b"one.test:81"
    assert headers.get_all(b"x-forwarded-for") == [b"203.0.113.9"]
    assert headers.get(b"via") == b"1.1 apigateway"


def test_an_answer_may_be_complete_before_the_upload_is():
    play = Play().run("""
        > POST / 100
        < one: POST / 100
        < client: resume
        > data first
        < one: data first
        > one 413 3
        < client: 413 3
        > data more
        < one: data more
        > one data big
        < client: data big
        > one end
        < client: end
        < client: done
        > data late
        > end
    """)
    assert play.exchange.status == 413 and play.driver.told == [("upstream", "one", "ok")]


def test_what_comes_of_a_body_after_a_complete_answer_is_held_nowhere():
    """The response is complete while a step still looks at it; the client goes on sending."""
    play = Play([say("slow", response="wait")]).run("""
        > POST / 100
        < one: POST / 100
        < client: resume
        > one 400 0
        < one: pause
        > one end
        > data unwanted
        > data unwanted
        > fire slow
        < client: 400 0
        < client: end
        < client: done
    """)
    assert play.machine.upload.held == []


@pytest.mark.parametrize("status", [204, 304])
def test_answers_without_a_body(status):
    Play().run(f"""
        > GET /
        < one: GET /
        < one: end
        > one {status} {1234 if status == 304 else "?"}
        < client: {status} {1234 if status == 304 else "?"}
        > one end
        < client: end
        < client: done
    """)


def test_a_head_keeps_its_length():
    Play().run("""
        > HEAD /
        < one: HEAD /
        < one: end
        > one 200 1234
        < client: 200 1234
        > one end
        < client: end
        < client: done
    """)


def test_options_star_is_answered_here():
    play = Play().run("""
        > OPTIONS *
        < client: 204 ?
        < client: end
        < client: done
    """)
    assert play.client.headers.get(b"allow").startswith(b"GET")


def test_trace_for_the_gateway_is_not_echoed():
    play = Play().run("""
        > TRACE / | Max-Forwards: 0 | Cookie: secret
        < client: 405 problem
        < client: data problem
        < client: end
        < client: done
    """)
    assert b"secret" not in play.client.body


def test_an_upgrade_becomes_a_tunnel_after_the_101_only():
    play = Play().run("""
        > GET /ws | Upgrade: websocket | Connection: upgrade
        < one: GET /ws
        < one: end
        > one 101
        < client: 101 ?
        < client: join one
    """)
    assert play.state == "TUNNEL"
    play.run("""
        > gone
        > tunnel 5 7
        < client: done
    """)
    assert (play.exchange.status, play.exchange.octets_in, play.exchange.octets_out) == (101, 5, 7)
    assert play.exchange.fault is None, "a tunnel that was closed by its client has not failed"
    assert play.driver.told == [("upstream", "one", "ok")]


def test_an_upgrade_that_is_refused_is_an_answer_like_any_other():
    Play().run("""
        > GET /ws | Upgrade: websocket | Connection: upgrade
        < one: GET /ws
        < one: end
        > one 403 2
        < client: 403 2
        > one data no
        < client: data no
        > one end
        < client: end
        < client: done
    """)


@pytest.mark.parametrize(
    ("hook", "head", "data"),
    [("fault", "403 problem", "problem"), ("error", "500 problem", "problem"), ("reply", "200 10", "reply of s")],
)
def test_a_step_may_refuse_an_upgrade_that_the_upstream_took(hook, head, data):
    Play([say("s", response=hook)]).run(f"""
        > GET /ws | Upgrade: websocket | Connection: upgrade
        < one: GET /ws
        < one: end
        > one 101
        < one: cancel
        < client: {head}
        < client: data {data}
        < client: end
        < client: done
    """)


def test_no_upstream_and_no_step_that_answers():
    play = Play({"apis": [{"name": "api", "routes": [{"name": "r"}]}]}).run("""
        > GET /
        < client: 503 problem
        < client: data problem
        < client: end
        < client: done
    """)
    assert play.exchange.fault.kind.slug == "unavailable"
