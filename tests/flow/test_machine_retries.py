"""When an exchange is tried again, and when it must not be (RFC 9110 9.2.2, RFC 9112 9.3.1; RC-O11)."""

from __future__ import annotations

import pytest
from machine_kinds import say, to
from machine_play import OTHERS, RETRYING, Play, failure

BOTH = ("one", "two")
TWO = to("one", "two")
ENDS = "< client: end\n< client: done"


def problem(status: int) -> str:
    return f"< client: {status} problem\n< client: data problem\n{ENDS}"


@pytest.mark.parametrize("reason", ["connect-failure", "reset-before-response"])
@pytest.mark.parametrize("method", ["GET", "HEAD", "OPTIONS", "DELETE"])
def test_what_is_idempotent_is_tried_again_at_another_target_at_once(method, reason):
    play = Play(TWO, kept=BOTH).run(f"""
        > {method} /
        < one: {method} /
        < one: end
        > one failed {reason}
        < two: {method} /
        < two: end
        > two 204
        < client: 204 ?
        > two end
        {ENDS}
    """)
    assert play.driver.told == [("upstream", "one", reason), ("upstream", "two", "ok")]
    assert (play.exchange.attempts, play.exchange.target) == (2, "two")


@pytest.mark.parametrize("reason", ["connect-failure", "reset-before-response"])
@pytest.mark.parametrize("method", ["POST", "PATCH"])
def test_what_is_not_is_tried_again_only_if_it_was_not_sent(method, reason):
    play = Play(TWO, kept=BOTH).run(f"""
        > {method} / 2
        < one: {method} / 2
        < client: resume
        > data hi
        < one: data hi
        > end
        < one: end
        > one failed {reason}
        {problem(502)}
    """)
    assert play.exchange.attempts == 1
    Play(TWO, kept=BOTH).run(f"""
        > {method} / 2
        < one: {method} / 2
        < client: resume
        > one failed {reason} unsent
        < two: {method} / 2
        < client: resume
        > gone
        < two: cancel
        < client: done
    """)


def test_an_idempotency_key_makes_a_post_repeatable():
    Play(TWO, kept=BOTH).run("""
        > POST / 0 | Idempotency-Key: 1
        < one: POST /
        < one: end
        > one failed reset-before-response
        < two: POST /
        < two: end
        > gone
        < two: cancel
        < client: done
    """)


def test_a_timeout_is_not_tried_again_unless_asked_for():
    given = to("one", "two", retry={"retry_on": ["timeout"]})
    again = "< two: GET /\n< two: end\n> gone\n< two: cancel\n< client: done"
    for setting, line in ((TWO, problem(504)), (given, again)):
        Play(setting, kept=BOTH).run(f"""
            > GET /
            < one: GET /
            < one: end
            > one failed timeout
            {line}
        """)


def test_a_status_may_be_a_reason():
    play = Play(TWO, kept=BOTH).run("""
        > GET /
        < one: GET /
        < one: end
        > one 503 5
        < one: cancel
        < two: GET /
        < two: end
        > two 200 0
        < client: 200 0
        > two end
        < client: end
        < client: done
    """)
    assert play.driver.told == [("upstream", "one", "503"), ("upstream", "two", "ok")]


@pytest.mark.parametrize("case", ["POST / 0", "GET /"])
def test_a_status_that_is_not_tried_again_is_the_answer(case):
    """Neither of a POST, nor when the attempts are over."""
    play = Play(to("one", "two", retry={"attempts": 1 if case == "GET /" else 3}), kept=BOTH)
    play.run_freely(f"> {case}", "> one 503 0", "> one end")
    assert play.client.head.status == 503 and play.exchange.fault is None
    assert play.driver.told == [("upstream", "one", "ok")]
    play.check()


def test_an_answer_is_passed_on_where_nobody_is_left_to_be_asked():
    """Here it opens the breaker of the only target: a retry would put our 503 in the place of its answer."""
    breaker = {"failures": 1, "statuses": [429]}
    play = Play(to("one", retry={"attempts": 3, "retry_on": [429]}, breaker=breaker))
    play.run_freely("> GET /", "> one 429 0", "> one end")
    assert play.client.head.status == 429 and play.exchange.fault is None
    play.check()


def test_the_number_of_attempts_is_the_limit():
    play = Play(to("one", "two", "three", retry={"attempts": 3}), kept=("one", "two", "three"))
    play.run_freely("> GET /", "> one failed connect-failure", "> two failed connect-failure")
    assert play.client.head is None, "the second retry waits"
    play.run_freely("> wait 0.025", "> three failed connect-failure")
    assert play.client.head.status == 502
    assert play.exchange.attempts == 3
    play.check()


def test_the_only_target_is_tried_again_after_a_while():
    play = Play(to("one")).run("""
        > GET /
        < one: GET /
        < one: end
        > one failed connect-failure
    """)
    play.run_freely("> wait 0.012")
    assert len(play.driver.attempts) == 1
    play.run_freely("> wait 0.013")
    assert len(play.driver.attempts) == 2
    play.run_freely("> one 200 0", "> one end")
    play.check()


def test_a_retry_that_is_waited_for_is_given_up_with_the_client():
    play = Play(to("one")).run("""
        > GET /
        < one: GET /
        < one: end
        > one failed connect-failure
        > gone
        < client: done
    """)
    assert play.exchange.status == 499


def test_and_when_the_client_is_too_slow():
    play = Play(to("one"))
    play.run_freely("> POST / ? | Idempotency-Key: 1", "> one failed connect-failure unsent", "> late")
    assert play.client.head.status == 408
    play.check()


def test_the_budget_of_an_upstream_is_kept():
    play = Play(to("one", "two", retry={"budget": "0%"}), kept=BOTH)
    budget = play.revision.live.upstreams["upstream"].budget
    budget.retrying = 3
    play.run_freely("> GET /", "> one failed connect-failure")
    assert play.client.head.status == 502 and budget.retrying == 3


def test_a_running_retry_counts_in_the_budget_until_it_ends():
    play = Play(TWO, kept=BOTH)
    budget = play.revision.live.upstreams["upstream"].budget
    play.run_freely("> GET /", "> one failed connect-failure")
    assert (budget.active, budget.retrying) == (OTHERS + 1, RETRYING + 1)
    play.run_freely("> two 200 0", "> two end")
    play.check()


# ---- bodies


def test_a_body_that_was_kept_is_sent_again_and_goes_on():
    Play(TWO, kept=BOTH).run("""
        > PUT / ?
        < one: PUT / ?
        < client: resume
        > data hello
        < one: data hello
        > one failed reset-before-response
        < two: PUT / ?
        < two: data hello
        < client: resume
        > data world
        < two: data world
        > end
        < two: end
        > gone
        < two: cancel
        < client: done
    """)


def test_a_body_that_grew_past_what_is_kept_is_not():
    Play(to("one", "two", retry={"buffer": "8B"}), kept=BOTH).run(f"""
        > PUT / ?
        < one: PUT / ?
        < client: resume
        > data hello
        < one: data hello
        > data world
        < one: data world
        > one failed reset-before-response
        {problem(502)}
    """)


def test_a_body_that_is_in_memory_anyway_is_kept_whatever_its_size():
    given = to("one", "two", retry={"buffer": "1B"}, flows={"pre_flow": {"request": [
        {"policy": "whole", "with": {"request": 100}}
    ]}})
    play = Play(given, kept=BOTH)
    play.run_freely("> PUT / 10", "> data helloworld", "> end", "> one failed reset-before-response")
    assert play.driver.attempts[1].body == b"helloworld" and play.driver.attempts[1].complete


def test_steps_see_each_piece_once_and_the_second_attempt_gets_what_they_made_of_it():
    given = to("one", "two", flows={"pre_flow": {"request": [{"policy": "pieces", "with": {"tail": "!"}}]}})
    play = Play(given, kept=BOTH)
    play.run_freely("> PUT / 10", "> data hello", "> data world", "> end", "> one failed reset-before-response")
    assert [attempt.body for attempt in play.driver.attempts] == [b"HELLOWORLD!"] * 2
    assert play.driver.attempts[1].complete


def test_what_comes_between_two_attempts_waits_for_the_second():
    play = Play(to("one"))
    play.run_freely("> PUT / ?", "> data hello", "> one failed reset-before-response", "> data world")
    assert play.client.paused
    play.run_freely("> end", "> wait 1")
    assert play.driver.attempts[1].body == b"helloworld" and play.driver.attempts[1].complete
    assert not play.client.paused


def test_a_status_while_the_upload_runs_may_be_tried_again():
    play = Play(TWO, kept=BOTH)
    play.run_freely("> PUT / ?", "> data hello", "> one 503 0", "> data world", "> end", "> two 200 0", "> two end")
    assert play.driver.attempts[1].body == b"helloworld" and play.client.head.status == 200
    play.check()


# ---- kept connections that were closed


def test_a_stale_connection_costs_a_get_nothing():
    play = Play(to("one", retry={"attempts": 1})).run("""
        > GET /
        < one: GET /
        < one: end
        > one failed reset-before-response stale
        < open one
        > one opened
        < one: GET /
        < one: end
        > one 200 0
        < client: 200 0
        > one end
        < client: end
        < client: done
    """)
    assert play.exchange.attempts == 1
    assert play.driver.told == [("upstream", "one", "stale"), ("upstream", "one", "ok")]
    assert play.exchange.lost
    assert next(iter(play.revision.live.upstreams["upstream"].places)).failures == 0


def test_a_post_that_was_sent_on_one_gets_502_and_is_never_repeated():
    Play(TWO, kept=BOTH).run(f"""
        > POST / 0
        < one: POST /
        < one: end
        > one failed reset-before-response stale
        {problem(502)}
    """)


def test_a_post_that_was_not_sent_goes_to_a_fresh_one():
    Play(to("one")).run("""
        > POST / 0
        < one: POST /
        < one: end
        > one failed reset-before-response stale unsent
        < open one
        > gone
        < one: cancel
        < client: done
    """)


def test_a_fresh_connection_that_fails_is_an_ordinary_failure():
    play = Play(to("one", retry={"attempts": 1}))
    play.run_freely("> GET /", "> one failed reset-before-response stale", "> one opened")
    play.run_freely("> one failed reset-before-response")
    assert play.client.head.status == 502 and len(play.driver.attempts) == 2
    play.check()


# ---- targets


def test_failover_targets_come_last():
    given = to("one", "two", {"name": "spare", "url": "http://spare.test", "role": "failover"}, retry={"attempts": 4})
    play = Play(given, kept=("one", "two", "spare"))
    play.run_freely("> GET /", "> one failed connect-failure", "> two failed connect-failure", "> wait 1")
    assert [attempt.name for attempt in play.driver.attempts] == ["one", "two", "spare"]
    play.run_freely("> spare 200 0", "> spare end")
    assert play.exchange.target == "spare"
    play.check()


def test_no_usable_target_is_503_with_a_time_and_no_attempt():
    play = Play()
    for state in play.revision.live.upstreams["upstream"].places:
        state.drain(True)
    play.run(f"""
        > GET /
        {problem(503)}
    """)
    assert play.client.headers.get(b"retry-after") == b"1" and play.exchange.attempts == 0


def test_an_expression_to_hash_on_that_fails_ends_the_exchange():
    hashed = {"source": "expression", "name": "request.headers['n'].size() / 0"}
    play = Play(to("one", "two", balance="consistent-hash", hash_on=hashed), kept=BOTH).run(f"""
        > GET /
        {problem(500)}
    """)
    assert play.exchange.attempts == 0


def test_failures_put_a_target_aside_and_a_limit_of_our_own_does_not():
    for reason, failures in (("connect-failure", 1), ("full", 0)):
        play = Play(to("one", retry={"attempts": 1}))
        play.run_freely("> GET /", f"> one failed {reason}")
        assert next(iter(play.revision.live.upstreams["upstream"].places)).failures == failures
        assert play.client.head.status == (502 if failures else 503)
        play.check()


def test_a_retry_that_had_what_was_left_of_the_time_says_nothing_of_its_target():
    play = Play(to("one", "two", timeouts={"total": "10s"}, retry={"retry_on": ["timeout"], "attempts": 3}), kept=BOTH)
    play.run_freely("> GET /", "> wait 9.9", "> one failed timeout", "> wait 0.1", "> two failed timeout")
    assert {state.name: state.failures for state in play.upstreams[0].places} == {"one": 1, "two": 0}
    assert play.client.head.status == 504
    play.check()


def test_an_operator_is_told_when_a_target_is_put_aside():
    given = to("one", "two", health={"passive": {"failures": 1, "aside_for": "10s"}})
    play = Play(given, kept=BOTH)
    play.run_freely("> GET /", "> one failed connect-failure")
    assert [(change.target, change.state) for change in play.driver.changes] == [("one", "aside")]


BREAKER = {"failures": 1, "open_for": "5s", "half_open_probes": 1}


def half_open(**more):
    """An upstream of one target, of which the breaker is half-open."""
    play = Play(to("one", retry={"attempts": 1}, breaker=BREAKER, **more), kept=("one",))
    play.run_freely("> GET /", "> one 503 0", "> one end", "> wait 5")
    return play, next(iter(play.revision.live.upstreams["upstream"].places))


@pytest.mark.parametrize("ending", ["> gone", "> one failed full", "> one 200 0", "> one failed timeout"])
def test_a_probe_gives_its_permit_back_however_it_ends(ending):
    play, state = half_open()
    play.run_freely("> GET /")
    assert state.breaker.shown(play.clock.monotonic())["probes_running"] == 1
    play.run_freely(ending)
    shown = state.breaker.shown(play.clock.monotonic())
    wanted = {"> one 200 0": "closed", "> one failed timeout": "open"}.get(ending, "half-open")
    assert (shown["state"], shown["probes_running"]) == (wanted, 0)


# ---- time


def test_the_total_deadline_ends_retries():
    play = Play(to("one", "two", timeouts={"total": "10s"}), kept=BOTH)
    play.run_freely("> GET /")
    assert play.machine.deadline == play.clock.monotonic() + 10
    play.run_freely("> wait 10", "> one failed connect-failure")
    assert play.client.head.status == 502 and play.exchange.attempts == 1
    play.check()


def test_a_retry_that_would_begin_after_the_deadline_does_not():
    play = Play(to("one", timeouts={"total": "10ms"}))
    play.run_freely("> GET /", "> one failed connect-failure")
    assert play.client.head.status == 502


def test_a_slow_step_leaves_the_upstream_its_time():
    play = Play({**to("one", timeouts={"total": "10s"}), "pre_flow": {"request": [say("slow", request="wait")]}})
    play.run_freely("> GET /", "> wait 4", "> fire slow")
    assert play.machine.deadline == play.clock.monotonic() + 10


def test_nothing_is_tried_again_once_a_response_began():
    play = Play(TWO, kept=BOTH).run("""
        > GET /
        < one: GET /
        < one: end
        > one 200 10
        < client: 200 10
        > one failed incomplete
        < client: abort
        < client: done
    """)
    assert play.exchange.attempts == 1


def test_an_unknown_failure_is_told_by_its_kind():
    assert failure("incomplete").reason == ""
    play = Play(TWO, kept=BOTH)
    play.run_freely("> GET /", "> one failed incomplete")
    assert play.driver.told == [("upstream", "one", "incomplete-response")]
    assert play.client.head.status == 502
