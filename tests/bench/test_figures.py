"""What becomes of samples: medians, ratios, budgets, tables, the plot."""

from __future__ import annotations

import xml.etree.ElementTree as ElementTree

import pytest

from bench import table
from bench.chart import Chart, svg
from bench.figures import Budget, Sample, judge, medians, ratios

SAMPLES = [
    Sample("plain", "gateway", {"cpu_us": 40.0, "p99_ms": 2.0}),
    Sample("plain", "nginx", {"cpu_us": 20.0, "p99_ms": 1.0}),
    Sample("plain", "gateway", {"cpu_us": 44.0, "p99_ms": 3.0}),
    Sample("plain", "gateway", {"cpu_us": 42.0, "p99_ms": 9.0}),
    Sample("tls", "gateway", {"cpu_us": 60.0, "p99_ms": 2.0}),
]


def test_medians_are_taken_of_one_job_by_label() -> None:
    found = medians(SAMPLES, "plain", "cpu_us")
    assert found == {
        "gateway": {"cpu_us": 42.0, "spread": pytest.approx(4 / 42), "p99_ms": 3.0},
        "nginx": {"cpu_us": 20.0, "p99_ms": 1.0},
    }


@pytest.mark.parametrize("figure", ["failed", "pause_ms", "grown_mib", "lost"])
def test_of_what_must_never_happen_the_worst_sample_counts(figure: str) -> None:
    samples = [Sample("job", "gateway", {figure: value}) for value in (0.0, 7.0, 0.0)]
    assert medians(samples, "job", "cpu_us")["gateway"][figure] == 7.0


def test_a_job_without_samples_has_no_rows() -> None:
    assert medians(SAMPLES, "idle", "kib") == {}


def test_a_spread_of_nothing_is_none() -> None:
    samples = [Sample("job", "gateway", {"kib": 0.0})] * 2
    assert medians(samples, "job", "kib")["gateway"]["spread"] == 0.0


def test_peers_are_compared_with_ours_of_the_same_variant() -> None:
    rows = {
        "gateway": {"cpu_us": 40.0}, "gateway, up": {"cpu_us": 90.0}, "nginx": {"cpu_us": 20.0},
        "nginx, up": {"cpu_us": 30.0}, "nginx, down": {"cpu_us": 30.0}, "idle": {"cpu_us": 0.0},
    }
    assert ratios(rows, "cpu_us") == {"nginx": 2.0, "nginx, up": 3.0}


@pytest.mark.parametrize(
    ("at_most", "by", "value", "met"),
    [(2.2, "nginx", 2.1, True), (2.0, "nginx", 2.1, False), (42.0, "", 42.0, True), (41.9, "", 42.0, False)],
)
def test_a_budget_is_a_ratio_or_a_figure(at_most: float, by: str, value: float, met: bool) -> None:
    found = {"plain": medians(SAMPLES, "plain", "cpu_us")}
    (verdict,) = judge([Budget("plain", "plain", "gateway", "cpu_us", at_most, by)], found)
    assert (verdict.value, verdict.met) == (pytest.approx(value), met)


@pytest.mark.parametrize(
    "budget",
    [
        Budget("another job", "tls", "gateway", "cpu_us", 1.0),
        Budget("another proxy", "plain", "gateway", "cpu_us", 1.0, "envoy"),
        Budget("another figure", "plain", "gateway", "kib", 1.0),
        Budget("a peer without it", "plain", "gateway", "kib", 1.0, "nginx"),
    ],
)
def test_a_budget_whose_figures_are_not_there_has_no_verdict(budget: Budget) -> None:
    assert judge([budget], {"plain": medians(SAMPLES, "plain", "cpu_us")}) == []


def test_the_table_of_a_job() -> None:
    rows = medians(SAMPLES, "plain", "cpu_us")
    assert table.of_job(rows, "cpu_us", {"gateway": "ours"}) == [
        "|         | CPU us/request | spread | p99 ms | gateway / it |      |",
        "|---------|---------------:|-------:|-------:|-------------:|------|",
        "| gateway |           42.0 |    10% |   3.00 |              | ours |",
        "| nginx   |           20.0 |        |   1.00 |         2.10 |      |",
    ]


def test_the_table_of_budgets_says_which_are_missed() -> None:
    budgets = [
        Budget("by nginx", "plain", "gateway", "cpu_us", 2.0, "nginx"),
        Budget("none", "plain", "gateway", "p99_ms", 0.0), Budget("p99", "plain", "gateway", "p99_ms", 4.0),
    ]
    lines = table.of_budgets(judge(budgets, {"plain": medians(SAMPLES, "plain", "cpu_us")}))
    assert [[cell.strip() for cell in line.split("|")[1:-1]] for line in lines[2:]] == [
        ["by nginx", "2.10", "2", "1.05", "**missed**"], ["none", "3.00", "0", "", "**missed**"],
        ["p99", "3.00", "4", "0.75", "met"],
    ]
    assert table.of_budgets([]) == []


def test_the_plot_is_svg_with_a_bar_for_each() -> None:
    charts = [
        Chart("plain & simple", [("gateway", 40.0, True), ("a <peer>", 20.0, False)]), Chart("nothing", []),
        Chart("idle", [("gateway", 0.0, True)], ".2f"),
    ]
    root = ElementTree.fromstring(svg(charts))
    texts = [element.text for element in root.iter("{http://www.w3.org/2000/svg}text")]
    assert texts == ["plain & simple", "gateway", "40.0", "a <peer>", "20.0", "idle", "gateway", "0.00"]
    ground, ours, peer, none = (float(each.get("width", "")) for each in root.iter("{http://www.w3.org/2000/svg}rect"))
    assert ours == pytest.approx(2 * peer) and ground > ours
    assert none == 1.0  # nothing is still seen
