"""Metrics, looked at as Prometheus would."""

from __future__ import annotations

from typing import Any

import pytest
from exchanges import STARTED, ended
from prometheus_client.parser import text_string_to_metric_families
from pytest_twisted import ensureDeferred
from twisted.internet import reactor
from zope.interface.verify import verifyObject

from apigateway.adapters.metrics import Metrics
from apigateway.adapters.tallies import DURATIONS, Histogram, Tally
from apigateway.flow.faults import CONNECT_TIMEOUT, LIMITED, Fault
from apigateway.ports.interfaces import IMetrics, Reading

Samples = dict[tuple[str, frozenset[tuple[str, str]]], float]


def samples(text: bytes) -> Samples:
    """Every sample of an exposition, by name and labels."""
    return {
        (sample.name, frozenset(sample.labels.items())): sample.value
        for family in text_string_to_metric_families(text.decode())
        for sample in family.samples
    }


def value(metrics: Metrics, name: str, **labels: str) -> float | None:
    """One sample of a fresh exposition; None where it is not there."""
    return samples(metrics.exposition()).get((f"apigateway_{name}", frozenset(labels.items())))


@pytest.fixture
def metrics() -> Metrics:
    return Metrics()


def test_the_interface_is_provided(metrics: Metrics) -> None:
    assert verifyObject(IMetrics, metrics)


def test_requests_are_counted_by_api_route_and_status(metrics: Metrics) -> None:
    for status in (200, 200, 503):
        metrics.finished(ended(status=status))
    metrics.finished(ended(api="", route="", status=404))
    assert value(metrics, "requests_total", api="users", route="read", status="200") == 2
    assert value(metrics, "requests_total", api="users", route="read", status="503") == 1
    assert value(metrics, "requests_total", api="", route="", status="404") == 1


def test_no_path_of_a_client_becomes_a_label(metrics: Metrics) -> None:
    metrics.finished(ended(b"/secret/path?q=1", api="", route=""))
    assert b"secret" not in metrics.exposition()


def test_body_octets_are_summed(metrics: Metrics) -> None:
    for _ in range(2):
        metrics.finished(ended(octets_in=10, octets_out=1000))
    assert value(metrics, "request_bytes_total", api="users", route="read") == 20
    assert value(metrics, "response_bytes_total", api="users", route="read") == 2000


@pytest.mark.parametrize(
    ("phase", "seconds", "bucket", "below"),
    [("total", 0.025, "0.025", "0.01"), ("policies", 0.001, "0.0025", "0.0005"),
     ("upstream", 0.02, "0.025", "0.01"), ("response", 0.004, "0.005", "0.0025")],
)  # fmt: skip
def test_durations_by_phase(metrics: Metrics, phase: str, seconds: float, bucket: str, below: str) -> None:
    # An eighth more or less is nothing; a bound itself would hang on the last digit of a difference.
    metrics.finished(ended(ended=STARTED + 0.02499))
    labels = {"api": "users", "route": "read", "phase": phase}
    name = "request_duration_seconds"
    assert value(metrics, f"{name}_sum", **labels) == pytest.approx(seconds, abs=1e-4)
    assert value(metrics, f"{name}_count", **labels) == 1
    assert value(metrics, f"{name}_bucket", **labels, le=bucket) == 1
    assert value(metrics, f"{name}_bucket", **labels, le=below) == 0
    assert value(metrics, f"{name}_bucket", **labels, le="+Inf") == 1


def test_a_phase_that_was_not_reached_is_not_counted(metrics: Metrics) -> None:
    metrics.finished(ended(steps_done=0.0, answered=0.0))
    name = "request_duration_seconds_count"
    counted = {
        phase: value(metrics, name, api="users", route="read", phase=phase)
        for phase in ("total", "policies", "upstream", "response")
    }
    assert counted == {"total": 1, "policies": None, "upstream": None, "response": None}


def test_faults_are_counted_by_type(metrics: Metrics) -> None:
    for kind in (LIMITED, LIMITED, CONNECT_TIMEOUT):
        metrics.finished(ended(fault=Fault(kind), status=kind.status))
    assert value(metrics, "faults_total", type="rate-limited", whose="client") == 2
    assert value(metrics, "faults_total", type="connect-timeout", whose="upstream") == 1


def test_what_else_happens_is_counted(metrics: Metrics) -> None:
    metrics.attempt("pool", "one", "ok")
    metrics.attempt("pool", "one", "connect-failed")
    metrics.attempt("pool", "one", "ok")
    metrics.limit_decision("users", "read", "per-ip", granted=True)
    metrics.limit_decision("users", "read", "per-ip", granted=False)
    metrics.step_outcome("cors", "cors", "reply")
    metrics.reload("taken")
    metrics.reload("refused")
    assert value(metrics, "upstream_attempts_total", upstream="pool", target="one", result="ok") == 2
    assert value(metrics, "upstream_attempts_total", upstream="pool", target="one", result="connect-failed") == 1
    limit = {"api": "users", "route": "read", "step": "per-ip"}
    assert value(metrics, "limit_decisions_total", **limit, decision="granted") == 1
    assert value(metrics, "limit_decisions_total", **limit, decision="refused") == 1
    assert value(metrics, "step_outcomes_total", step="cors", kind="cors", outcome="reply") == 1
    assert value(metrics, "reloads_total", result="refused") == 1


def test_only_the_running_revision_is_told(metrics: Metrics) -> None:
    metrics.digest("aaa")
    metrics.digest("bbb")
    assert value(metrics, "revision_info", digest="bbb") == 1
    assert value(metrics, "revision_info", digest="aaa") is None


def test_loop_lag_is_a_histogram(metrics: Metrics) -> None:
    for seconds in (0.0005, 0.03, 2.0):
        metrics.loop_lag(seconds)
    assert value(metrics, "loop_lag_seconds_count") == 3
    assert value(metrics, "loop_lag_seconds_bucket", le="0.05") == 2
    assert value(metrics, "loop_lag_seconds_sum") == pytest.approx(2.0305)


def test_gauges_are_read_at_each_exposition() -> None:
    now: list[Reading] = []
    metrics = Metrics(lambda: now)
    assert value(metrics, "connections", listener="public") is None
    now += [
        Reading("connections", ("public",), 3.0), Reading("target_healthy", ("pool", "one"), 0.0),
        Reading("target_active", ("pool", "one"), 7.0), Reading("log_lines_lost", ("access",), 5.0),
        Reading("upstream_connections", ("pool", "one", "idle"), 2.0), Reading("not known", (), 1.0),
    ]  # fmt: skip
    assert value(metrics, "connections", listener="public") == 3
    assert value(metrics, "target_healthy", upstream="pool", target="one") == 0
    assert value(metrics, "target_active", upstream="pool", target="one") == 7
    assert value(metrics, "upstream_connections", upstream="pool", target="one", state="idle") == 2
    assert value(metrics, "log_lines_lost_total", log="access") == 5


def test_the_process_is_told_too(metrics: Metrics) -> None:
    names = {name for name, _ in samples(metrics.exposition())}
    assert {"process_cpu_seconds_total", "python_info", "python_gc_collections_total"} <= names


def test_odd_names_are_escaped(metrics: Metrics) -> None:
    metrics.attempt("pool", 'a"b\\c\nd', "ok")
    assert value(metrics, "upstream_attempts_total", upstream="pool", target='a"b\\c\nd', result="ok") == 1


def test_routes_are_bounded() -> None:
    metrics = Metrics(most_routes=2)
    for number in range(5):
        metrics.finished(ended(route=f"r{number}"))
        metrics.finished(ended(route="r0"))
    assert value(metrics, "requests_total", api="users", route="r0", status="200") == 6
    assert value(metrics, "requests_total", api="_other", route="_other", status="200") == 3
    assert len(metrics.routes) == 3


def test_other_labels_are_bounded() -> None:
    tally = Tally(most=2)
    for name in ("a", "b", "c", "d", "a"):
        tally.count(name, "x")
    assert tally.counts == {("a", "x"): 2, ("b", "x"): 1, ("_other", "_other"): 2}


def test_a_bound_belongs_to_its_own_bucket() -> None:
    histogram = Histogram()
    for bound in (*DURATIONS, 61.0):
        histogram.observe(bound)
    assert histogram.cumulated() == [
        (label, float(index + 1)) for index, label in enumerate([*map(str, DURATIONS), "+Inf"])
    ]


@ensureDeferred
async def test_a_thread_writes_the_same() -> None:
    metrics = Metrics(lambda: [Reading("connections", ("public",), 3.0)])
    metrics.finished(ended())
    text: Any = await metrics.exposition_later(reactor)
    ours = {key: value for key, value in samples(text).items() if key[0].startswith("apigateway_")}
    assert ours == {
        key: value for key, value in samples(metrics.exposition()).items() if key[0].startswith("apigateway_")
    }
    assert ours["apigateway_connections", frozenset({("listener", "public")})] == 3
