"""The client leaves, is slow, or does not read, at every point of an exchange (RC-O12; backpressure)."""

from __future__ import annotations

import pytest
from machine_kinds import say, to
from machine_play import Play

from apigateway.flow.machine_state import NAMES

WAITING = [say("slow", request="wait")]
SHAPING = [say("slow", response="wait")]
FAILING = [say("slow", fault="wait"), say("no", request="fault")]
WHOLE = [{"policy": "whole", "with": {"request": 100, "response": 100}}]

# Name of the moment -> (steps, kept, what happens before it, state then)
MOMENTS = {
    "a step is waited for": (WAITING, True, ["> GET /"], "STEPS"),
    "the body is collected": (WHOLE, True, ["> POST / 10", "> data hello"], "STEPS"),
    "a connection is opened": ([], False, ["> GET /"], "SENDING"),
    "the upload runs": ([], True, ["> POST / 10", "> data hello"], "SENDING"),
    "a 100 is waited for": ([], True, ["> POST / 10 | Expect: 100-continue"], "SENDING"),
    "the response is waited for": ([], True, ["> GET /"], "SENDING"),
    "a retry is waited for": ([], True, ["> GET /", "> one failed connect-failure"], "SENDING"),
    "a response step is waited for": (SHAPING, True, ["> GET /", "> one 200 2"], "SHAPING"),
    "a response step is waited for, all is there": (SHAPING, True, ["> GET /", "> one 200 0", "> one end"], "SHAPING"),
    "the response is collected": (WHOLE, True, ["> GET /", "> one 200 4", "> one data ok"], "SHAPING"),
    "the body passes": ([], True, ["> GET /", "> one 200 4", "> one data ok"], "ANSWERING"),
    "the body passes and the upload too": ([], True, ["> POST / ?", "> data hello", "> one 200 4"], "ANSWERING"),
    "a fault is shaped": (FAILING, True, ["> GET /"], "FAILING"),
    "a fault of the response is shaped": (
        [say("slow", fault="wait", response="fault")], True, ["> GET /", "> one 200 4"], "FAILING",
    ),
}


def come_to(moment: str) -> Play:
    steps, kept, before, state = MOMENTS[moment]
    play = Play(steps, kept=("one",) if kept else ())
    play.run_freely(*before)
    assert play.state == state
    play.recorder.take()
    return play


def test_every_state_is_among_the_moments():
    assert {state for _, _, _, state in MOMENTS.values()} == set(NAMES) - {"TUNNEL", "OVER"}


@pytest.mark.parametrize("moment", MOMENTS)
def test_the_client_leaves(moment):
    """The upstream is let go at once, nothing more is sent to anybody, and it is told once."""
    play = come_to(moment)
    runs = [attempt for attempt in play.driver.attempts if not attempt.over]
    status = play.exchange.status
    play.machine.client_gone()
    lines = play.recorder.take()
    assert lines == [*(f"{attempt.name}: cancel" for attempt in runs), "client: done"]
    assert play.exchange.fault.kind.slug in ("client-closed", "forbidden")
    assert play.exchange.status == (status or 499)
    assert [place.failures for place in play.revision.live.upstreams["upstream"].places] in ([0], [1])
    play.check()
    play.run_freely("> gone", "> data late", "> end", "> late", "> full", "> ready", "> refused 400", "> wait 100")
    assert play.recorder.take() == []
    play.check()


@pytest.mark.parametrize("moment", MOMENTS)
def test_a_step_that_is_waited_for_is_called_off(moment):
    play = come_to(moment)
    waited = list(play.waiting)
    play.run_freely("> gone")
    assert play.cancelled == waited


@pytest.mark.parametrize("moment", MOMENTS)
def test_the_client_is_too_slow(moment):
    """Before the answer began it is told so; after, it is cut off."""
    play = come_to(moment)
    state, was = play.state, play.exchange.fault
    play.machine.late()
    assert play.state == "OVER"
    if state == "ANSWERING":
        assert play.client.aborted and not play.client.ended
    else:
        assert play.client.ended and play.client.head.status == (403 if was else 408)
    play.check()


@pytest.mark.parametrize("moment", MOMENTS)
def test_the_client_breaks_the_protocol(moment):
    play = come_to(moment)
    state, was = play.state, play.exchange.fault
    play.run_freely("> refused 400")
    assert play.state == "OVER"
    if state == "ANSWERING":
        assert play.client.aborted and not play.client.ended
    else:
        assert play.client.ended and play.client.head.status == (403 if was else 400)
    play.check()


@pytest.mark.parametrize("moment", [moment for moment in MOMENTS if "retry" not in moment])
def test_an_aborted_attempt_is_over_for_the_target(moment):
    play = come_to(moment)
    play.run_freely("> gone")
    told = [result for _, _, result in play.driver.told]
    assert told in ([], ["ok"], ["cancelled"], ["forbidden"])
    assert "retry" not in told


def test_a_request_that_could_not_be_read_is_an_exchange_too():
    from apigateway.flow.exchange import Connection, Exchange
    from apigateway.flow.machine import Machine
    from apigateway.wire.headers import Headers
    from apigateway.wire.message import Refusal, Request

    play = Play([say("a")])
    play.exchange = Exchange("x1", Request(b"-", b"", Headers()), Connection(), "", 0.0)
    play.machine = Machine(play.driver, play.client, play.exchange, play.revision.live)
    play.machine.refused(Refusal(431, "the head is too large", "RFC 6585 5"))
    assert play.client.head.status == 431 and play.trace == []
    play.check()


# ---- backpressure


def test_the_client_does_not_read():
    Play().run("""
        > GET /
        < one: GET /
        < one: end
        > one 200 10
        < client: 200 10
        > one data hello
        < client: data hello
        > full
        < one: pause
        > ready
        < one: resume
        > one data world
        < client: data world
        > one end
        < client: end
        < client: done
        > full
        > ready
    """)


def test_the_upstream_does_not_read():
    Play().run("""
        > POST / ?
        < one: POST / ?
        < client: resume
        > data hello
        < one: data hello
        > one full
        < client: pause
        > one ready
        < client: resume
        > data world
        < one: data world
        > end
        < one: end
        > gone
        < one: cancel
        < client: done
    """)


def test_a_body_that_is_complete_needs_no_pause():
    """And who is paused does not see the client leave."""
    Play().run("""
        > POST / ?
        < one: POST / ?
        < client: resume
        > data hello
        < one: data hello
        > one full
        < client: pause
        > end
        < one: end
        < client: resume
        > one full
        > one ready
        < client: resume
        > gone
        < one: cancel
        < client: done
    """)


def test_a_request_without_a_body_is_not_paused():
    Play().run("""
        > GET /
        < one: GET /
        < one: end
        > one full
        > one ready
        > gone
        < one: cancel
        < client: done
    """)


def test_what_was_held_fills_the_upstream_and_the_client_stays_paused():
    """The upstream says that it is full while it is sent what was held: nothing says so again."""
    play = Play(WAITING)
    play.run_freely("> POST / ?", "> data hello")
    assert play.client.paused
    fill(play)
    play.run_freely("> fire slow")
    assert play.client.paused
    play.run_freely("> one ready")
    assert not play.client.paused


def test_a_second_attempt_is_not_full_because_the_first_was():
    play = Play(to("one", "two"), kept=("one", "two"))
    play.run_freely("> PUT / ?", "> data hello", "> one full", "> one failed reset-before-response")
    assert not play.client.paused


def fill(play: Play) -> None:
    """Let the next attempt be full as soon as it is sent anything of a body."""
    opened = play.driver.open_upstream

    def open_upstream(*arguments):
        attempt = opened(*arguments)
        send = attempt.send_data

        def send_data(chunk):
            send(chunk)
            play.machine.upload_paused()

        attempt.send_data = send_data
        return attempt

    play.driver.open_upstream = open_upstream
