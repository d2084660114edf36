"""When a long run is called steady."""

from __future__ import annotations

from collections.abc import Callable

import pytest

from bench.steadiness import Look, judge, judge_all

MIB = 1024 * 1024
SECONDS = 1000.0


def looks(resident: Callable[[float], float], descriptors: Callable[[float], float] = lambda at: 100) -> list[Look]:
    return [
        Look(float(at), int(resident(float(at)) * MIB), int(descriptors(float(at)))) for at in range(0, 1001, 5)
    ]


@pytest.mark.parametrize(
    ("seen", "growth", "wrong"),
    [
        pytest.param(looks(lambda at: 80), 0.0, [], id="as it was"),
        pytest.param(looks(lambda at: 40 if at < 100 else 80), 0.0, [], id="grown while warming"),
        pytest.param(looks(lambda at: 80 + at / 1000), 0.01, [], id="grown by a little"),
        pytest.param(looks(lambda at: 80 + at / 100), 0.098, ["memory"], id="grown too much"),
        pytest.param(looks(lambda at: 500 if at == 500 else 80), 0.0, [], id="a peak in between"),
        pytest.param(looks(lambda at: 80, lambda at: 100 + at / 20), 0.0, ["descriptors"], id="left open"),
        pytest.param(looks(lambda at: 80, lambda at: 200 - at / 20), 0.0, ["descriptors"], id="gone"),
        pytest.param(looks(lambda at: 80, lambda at: 100 + at % 10), 0.0, [], id="come and gone"),
        pytest.param(looks(lambda at: 80 + at / 100, lambda at: at / 20), 0.098, ["memory", "descriptors"], id="both"),
    ],
)
def test_the_first_window_after_warming_is_compared_with_the_last(
    seen: list[Look], growth: float, wrong: list[str]
) -> None:
    steady, found = judge_all({1: seen}, SECONDS)
    assert steady[1].growth == pytest.approx(growth, abs=0.005)
    assert len(found) == len(wrong) and all(word in said for word, said in zip(wrong, found, strict=True))


def test_connections_may_move_from_worker_to_worker() -> None:
    rising, falling = looks(lambda at: 80, lambda at: 50 + at / 20), looks(lambda at: 80, lambda at: 100 - at / 20)
    assert judge_all({1: rising, 2: falling}, SECONDS)[1] == []


@pytest.mark.parametrize("part", [slice(0, 100), slice(100, None)], ids=["ended early", "came late"])
def test_a_process_has_to_be_there_all_the_time(part: slice) -> None:
    seen = looks(lambda at: 80)
    assert judge(seen[part], SECONDS) is None
    steady, wrong = judge_all({1: seen, 2: seen[part]}, SECONDS)
    assert list(steady) == [1] and wrong == ["process 2 was not there from the beginning to the end"]


def test_who_was_seen_once_is_no_worker() -> None:
    steady = looks(lambda at: 80)
    found, wrong = judge_all({1: steady, 2: steady[:1]}, SECONDS)
    assert list(found) == [1] and wrong == []
