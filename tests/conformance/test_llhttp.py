"""llhttp's own cases: read as its logs say, the same however they are cut, and over sockets on both sides."""

from __future__ import annotations

import random
from itertools import pairwise

import pytest
from llhttp_cases import Case, read_cases
from llhttp_judging import LENIENT, LET_BE, REFUSED, SAME, STATUS, STRICTER, WRONG, events_of
from results import Results
from testdata import place
from transcripts import splits, told

CASES = read_cases(place() / "llhttp-md")
NAMES = [f"{case.name} [{number}]" for number, case in enumerate(CASES)]


def test_all_cases_are_found_and_their_logs_speak_of_their_octets() -> None:
    assert len(CASES) == 251
    for case in CASES:
        for at, octets in case.spans:
            assert case.octets[at : at + len(octets)] == octets, case.name


def test_nothing_is_read_differently(results: Results) -> None:
    assert [one.case.name for one in results.judged() if one.verdict == WRONG] == []


def test_whatever_strict_llhttp_refuses_is_refused_but_for_reasons(results: Results) -> None:
    strict = [one for one in results.judged() if one.case.strict and one.verdict in (REFUSED, STATUS, LET_BE)]
    assert len(strict) > 70
    deviating = [one for one in results.judged() if one.verdict in (LET_BE, STRICTER, STATUS)]
    assert [one.case.name for one in deviating if not one.why] == []
    assert sum(one.verdict == SAME for one in results.judged()) > 100
    assert sum(one.verdict == LENIENT for one in results.judged()) > 30


@pytest.mark.parametrize("case", CASES, ids=NAMES)
def test_the_same_however_it_is_cut(case: Case) -> None:
    chance = random.Random(case.name)
    for octets in {case.octets, case.with_hosts}:
        whole = told(events_of(case, [octets]))
        ways = list(splits(octets)) + [cut(octets, chance) for _ in range(20)]
        for pieces in ways:
            assert told(events_of(case, pieces)) == whole, [len(piece) for piece in pieces]


def cut(octets: bytes, chance: random.Random) -> list[bytes]:
    """Pieces of any length."""
    places = sorted({0, len(octets), *(chance.randrange(len(octets) + 1) for _ in range(chance.randrange(1, 9)))})
    return [octets[begin:end] for begin, end in pairwise(places)]
