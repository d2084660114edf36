"""Expect: 100-continue (RFC 9110 10.1.1; RC-O07): exactly one final answer, and a 100 only to who may go on."""

from __future__ import annotations

from machine_kinds import say, to
from machine_play import Play

HEAD = "> POST /up 9 | Expect: 100-continue"


def test_a_request_that_is_refused_gets_no_100():
    Play([say("auth", request="fault")]).run(f"""
        {HEAD}
        < client: 403 problem
        < client: data problem
        < client: end
        < client: done
    """)


def test_nor_does_one_that_is_refused_later():
    Play([say("auth", request="wait")]).run(f"""
        {HEAD}
        > wait 3
        > fire auth fault
        < client: 403 problem
        < client: data problem
        < client: end
        < client: done
    """)


def test_the_100_of_the_upstream_is_passed_on():
    Play().run(f"""
        {HEAD}
        < one: POST /up 9
        < client: resume
        > one 100
        < client: 100
        > wait 5
        > data ninebytes
        < one: data ninebytes
        > end
        < one: end
        > one 200 0
        < client: 200 0
        > one end
        < client: end
        < client: done
    """)


def test_a_second_100_is_one_too_many():
    Play().run(f"""
        {HEAD}
        < one: POST /up 9
        < client: resume
        > one 100
        < client: 100
        > one 100
        > gone
        < one: cancel
        < client: done
    """)


def test_a_final_answer_instead_is_relayed_without_the_body():
    Play().run(f"""
        {HEAD}
        < one: POST /up 9
        < client: resume
        > one 413 0
        < client: 413 0
        > one end
        < client: end
        < client: done
    """)


def test_an_upstream_that_says_nothing_is_not_waited_for():
    Play().run(f"""
        {HEAD}
        < one: POST /up 9
        < client: resume
        > wait 0.9
        > wait 0.1
        < client: 100
        > data ninebytes
        < one: data ninebytes
        > end
        < one: end
        > gone
        < one: cancel
        < client: done
    """)


def test_a_body_over_the_limit_of_a_step_is_refused_by_its_length_and_gets_no_100():
    Play([{"policy": "whole", "with": {"request": 8}}]).run(f"""
        {HEAD}
        < client: 413 problem
        < client: data problem
        < client: end
        < client: done
    """)


def test_a_step_that_wants_the_body_asks_for_it():
    """The upstream then gets a whole body, and is not asked whether it wants one."""
    play = Play([{"policy": "whole", "with": {"request": 9}}]).run(f"""
        {HEAD}
        < client: 100
        < client: resume
        > data ninebytes
        > end
        < one: POST /up 9
        < one: data ninebytes
        < client: resume
        < one: end
        > gone
        < one: cancel
        < client: done
    """)
    assert not play.exchange.request.expect_continue


def test_a_step_that_answers_without_the_body():
    Play([say("mock", request="reply")]).run(f"""
        {HEAD}
        < client: 200 13
        < client: data reply of mock
        < client: end
        < client: done
    """)


def test_a_client_that_does_not_wait_gets_no_100():
    Play().run(f"""
        {HEAD}
        < one: POST /up 9
        < client: resume
        > data nine
        < one: data nine
        > one 100
        > wait 2
        > gone
        < one: cancel
        < client: done
    """)


def test_another_attempt_is_another_chance_to_say_it():
    Play(to("one", "two"), kept=("one", "two")).run(f"""
        {HEAD}
        < one: POST /up 9
        < client: resume
        > wait 0.5
        > one failed connect-failure unsent
        < two: POST /up 9
        < client: resume
        > wait 0.9
        > two 100
        < client: 100
        > gone
        < two: cancel
        < client: done
    """)


def test_the_time_for_a_100_runs_from_the_attempt_and_ends_with_it():
    Play(to("one")).run(f"""
        {HEAD}
        < one: POST /up 9
        < client: resume
        > wait 0.5
        > one failed timeout
        < client: 504 problem
        < client: data problem
        < client: end
        < client: done
        > wait 5
    """)
