"""Figures and facts of several workers as those of one."""

from __future__ import annotations

from typing import Any

from prometheus_client.parser import text_string_to_metric_families

from apigateway.adapters.metrics import Metrics
from apigateway.adapters.snapshot import MOST_ROUTES, Sum, Teller, together
from apigateway.flow.exchange import Connection, Exchange
from apigateway.flow.faults import NO_ROUTE, Fault
from apigateway.ports.interfaces import Reading
from apigateway.supervisor.shown import merged_listeners, merged_state, merged_target, merged_upstreams
from apigateway.wire.headers import Headers
from apigateway.wire.message import Request


def finish(metrics: Metrics, route: str, *, fault: bool = False) -> None:
    """An exchange is over."""
    exchange = Exchange("1", Request(b"GET", b"/", Headers()), Connection(), "192.0.2.1", 1.0)
    exchange.api, exchange.route, exchange.status = "a", route, 200
    exchange.steps_done, exchange.answered, exchange.ended = 1.01, 1.02, 1.03
    exchange.fault = Fault(NO_ROUTE) if fault else None
    metrics.finished(exchange)


def counted(exchanges: int, *, fault: bool = False) -> Metrics:
    """The Metrics of a worker after so many exchanges."""
    metrics = Metrics()
    for _ in range(exchanges):
        finish(metrics, "r", fault=fault)
        metrics.attempt("up", "one", "ok")
        metrics.loop_lag(0.002)
    metrics.reload("taken")
    return metrics


def tell(sum: Sum, worker: int, metrics: Metrics, *readings: Reading) -> None:
    """All of it."""
    for part in Teller(metrics).parts(readings):
        sum.tell(worker, part)


def shown(sum: Sum) -> dict[str, float]:
    """The samples of the sum, by name, labels left out."""
    metrics = Metrics()
    readings = sum.add_to(metrics)
    metrics.readings = lambda: readings
    samples: dict[str, float] = {}
    for family in text_string_to_metric_families(metrics.exposition().decode()):
        for sample in family.samples:
            if sample.labels.get("le", "+Inf") == "+Inf" and sample.labels.get("phase", "total") == "total":
                samples[sample.name] = samples.get(sample.name, 0.0) + sample.value
    return samples


def test_counters_and_histograms_are_summed() -> None:
    sum = Sum()
    tell(sum, 1, counted(3))
    tell(sum, 2, counted(4, fault=True))
    samples = shown(sum)
    assert samples["apigateway_requests_total"] == 7
    assert samples["apigateway_request_duration_seconds_bucket"] == 7
    assert samples["apigateway_request_duration_seconds_count"] == 7
    assert round(samples["apigateway_request_duration_seconds_sum"], 3) == 0.21
    assert samples["apigateway_upstream_attempts_total"] == 7
    assert samples["apigateway_faults_total"] == 4
    assert samples["apigateway_loop_lag_seconds_count"] == 7
    # A reload is counted by who decides it, not by each that takes it.
    assert "apigateway_reloads_total" not in samples


def test_only_what_changed_is_told_again_and_many_routes_in_parts() -> None:
    metrics, sum = Metrics(), Sum()
    for number in range(2 * MOST_ROUTES + 1):
        finish(metrics, f"r{number}")
    teller = Teller(metrics)
    first = list(teller.parts(()))
    finish(metrics, "r7")
    second = list(teller.parts(()))
    assert len(first) == 3
    assert b'"r7"' in second[0] and b'"r8"' not in b"".join(second)
    for part in (*first, *second):
        sum.tell(1, part)
    assert shown(sum)["apigateway_requests_total"] == 2 * MOST_ROUTES + 2


def test_nothing_goes_back_when_workers_die() -> None:
    sum = Sum()
    last = 0.0
    for worker in range(1, 6):
        tell(sum, worker, counted(worker), Reading("log_lines_lost", ("error",), 2.0))
        tell(sum, worker, counted(worker + 1), Reading("log_lines_lost", ("error",), 3.0))
        before = shown(sum)["apigateway_requests_total"]
        sum.gone(worker)
        after = shown(sum)
        assert after["apigateway_requests_total"] == before > last
        assert after["apigateway_log_lines_lost_total"] == 3.0 * worker
        last = before
    sum.gone(99)  # one that never said a thing
    assert shown(sum)["apigateway_requests_total"] == last


def test_readings_of_one_that_is_gone_are_gone_but_for_what_is_counted() -> None:
    sum = Sum()
    readings = [Reading("connections", ("public",), 5.0), Reading("certificates_refused", ("public",), 1.0)]
    tell(sum, 1, Metrics(), *readings)
    tell(sum, 2, Metrics(), *readings)
    sum.gone(1)
    assert set(sum.add_to(Metrics())) == {
        Reading("connections", ("public",), 5.0), Reading("certificates_refused", ("public",), 2.0)
    }


def test_readings_are_joined_by_what_they_mean() -> None:
    one = [Reading("connections", ("public",), 2.0), Reading("target_healthy", ("up", "one"), 1.0),
           Reading("certificate_not_after_seconds", ("public", "a"), 100.0)]  # fmt: skip
    other = [Reading("connections", ("public",), 3.0), Reading("target_healthy", ("up", "one"), 0.0),
             Reading("certificate_not_after_seconds", ("public", "a"), 90.0)]  # fmt: skip
    assert [reading.value for reading in together([*one, *other])] == [5.0, 0.0, 90.0]


def target(**changes: Any) -> dict[str, Any]:
    return {
        "name": "one", "url": "http://a", "healthy": True, "draining": False, "usable": True, "why": "", "active": 1,
        "connections": {"idle": 1, "busy": 2}, "addresses": ["192.0.2.1"], **changes,
    }  # fmt: skip


def test_a_target_is_healthy_where_all_say_so() -> None:
    merged = merged_target([(0, target()), (1, target(healthy=False, usable=False, why="unhealthy: no answer"))])
    assert (merged["healthy"], merged["usable"], merged["why"]) == (False, False, "unhealthy: no answer")
    assert (merged["active"], merged["connections"]) == (2, {"idle": 2, "busy": 4})
    assert [worker["healthy"] for worker in merged["workers"]] == [True, False]


def test_upstreams_and_listeners_are_merged_by_name() -> None:
    upstream = {"name": "up", "balance": "round-robin", "verified": True}
    merged = merged_upstreams(
        [(0, [{**upstream, "targets": [target()]}]), (1, [{**upstream, "targets": [target(), target(name="two")]}])]
    )
    assert [(one["name"], [each["active"] for each in one["targets"]]) for one in merged] == [("up", [2, 1])]
    listener = {"name": "public", "address": "127.0.0.1:80", "tls": False}
    several = [[{**listener, "connections": 2}], [{**listener, "connections": 3}]]
    assert merged_listeners(several) == [{**listener, "connections": 5}]


def test_what_is_counted_of_canaries_and_mirrors_is_added_up() -> None:
    def of(cooling: bool, why: str, exchanges: int) -> dict[str, Any]:
        canary = {"percent": 5.0, "cooling": cooling, "why": why, "exchanges": exchanges}
        return {"name": "up", "targets": [], "canary": canary, "mirror": {"sent": exchanges}}

    (merged,) = merged_upstreams([(0, [of(False, "", 1)]), (1, [of(True, "worse", 2)]), (2, [of(False, "", 4)])])
    assert merged["canary"] == {"percent": 5.0, "cooling": True, "why": "worse", "exchanges": 7}
    assert merged["mirror"] == {"sent": 7}


def test_the_state_is_as_the_worker_sees_it_that_is_worst_off() -> None:
    well = {"kind": "redis", "connected": True, "why_not": "", "failures": 1, "refused": 0}
    cut_off = {"kind": "redis", "connected": False, "why_not": "refused", "failures": 3, "refused": 40}
    assert merged_state([(0, well), (2, cut_off)]) == {
        **cut_off, "failures": 4, "refused": 40,
        "workers": [{"slot": 0, "connected": True}, {"slot": 2, "connected": False}],
    }
    assert merged_state([]) == {}
    memory = {"kind": "memory", "connected": True}
    assert merged_state([(0, memory)]) == {**memory, "workers": [{"slot": 0, "connected": True}]}
