"""Every target for a moment, always with the same inputs; and that a search finds what there is to be found."""

from __future__ import annotations

import os
import time

import pytest
from fuzzing.all import TARGETS
from fuzzing.mutation import LONGEST, mutated
from fuzzing.search import search
from fuzzing.target import Target, TooSlow, tried
from fuzzing.watched import fuzz

MOMENT = 150


@pytest.mark.parametrize("target", TARGETS, ids=lambda target: target.name)
def test_nothing_that_is_not_documented_is_raised(target: Target) -> None:
    for valid in target.seeds:
        tried(target, valid)
    found = search(target, examples=MOMENT, first=1)
    assert found.failure is None, (found.failing, found.failure)
    assert found.inputs >= MOMENT


def test_names_are_given_once() -> None:
    assert len({target.name for target in TARGETS}) == len(TARGETS)


def planted(data: bytes) -> None:
    assert b"needle" not in data or len(data) < 40


def test_what_fails_is_found() -> None:
    found = search(Target("planted", planted, (b"hay" * 10,), (b"needle",)), examples=2000, first=1)
    assert isinstance(found.failure, AssertionError)
    assert found.failing is not None and b"needle" in found.failing


def test_the_same_inputs_are_tried_again() -> None:
    def inputs(first: int) -> list[bytes]:
        seen: list[bytes] = []
        search(
            Target("listed", seen.append, (b"a valid one", b"another"), (b"word",)), examples=50, first=first
        )
        return seen

    assert inputs(3) == inputs(3) != inputs(4)


def test_what_takes_too_long_is_a_finding() -> None:
    def slow(_: bytes) -> None:
        end = time.thread_time() + 1.1
        while time.thread_time() < end:
            pass

    with pytest.raises(TooSlow, match="3 octets took"):
        tried(Target("slow", slow, (b"a",)), b"abc")


def test_what_ends_the_process_is_found_with_its_input() -> None:
    def ends(data: bytes) -> None:
        if b"end" in data:
            os._exit(7)

    report = fuzz(Target("ending", ends, (b"begin",), (b"end",)), seconds=20, first=1)
    assert report.finding is not None and b"end" in report.finding
    assert "ended with 7" in report.trouble


def test_a_search_in_a_process_of_its_own_reports() -> None:
    report = fuzz(Target("planted", planted, (b"hay" * 10,), (b"needle",)), seconds=20, first=1)
    assert report.inputs > 0 and report.finding is not None and b"needle" in report.finding
    assert "AssertionError" in report.trouble
    assert fuzz(Target("fine", len, (b"a",)), seconds=0.2, first=1).finding is None


def test_an_empty_script_leaves_a_seed_as_it_is_and_no_script_makes_it_too_long() -> None:
    assert mutated((b"first", b"second"), (), b"") == b"first"
    assert mutated((b"first", b"second"), (), b"\1") == b"second"
    for step in range(12):
        script = b"\0" + bytes([step, 0, 0, 63, 5]) * 40
        assert len(mutated((b"x" * 1000,), (b"word" * 1000,), script)) <= LONGEST
