"""What a worker shows of breakers, targets put aside, latencies and retries."""

from __future__ import annotations

from typing import Any

from apigateway.flow.target_state import TargetState
from apigateway.flow.timed_methods import latency_of
from apigateway.flow.upstream import CompiledUpstream
from apigateway.ports.interfaces import Reading


def health_readings(upstream: CompiledUpstream, now: float) -> list[Reading]:
    """Of one upstream and its targets; now: monotonic seconds."""
    settings, balancer = upstream.settings, upstream.balancer
    readings = [Reading("retries_over_budget", (upstream.name,), float(upstream.budget.refused))]
    if settings.panic_threshold:
        readings.append(Reading("upstream_panic", (upstream.name,), float(balancer.panics(now))))
    for state in balancer.states:
        names = (upstream.name, state.name)
        if settings.health.passive is not None:
            readings.append(Reading("target_put_aside", names, float(state.asides)))
        if settings.breaker is not None:
            seen, opened = (0, 0) if state.breaker is None else (state.breaker.seen(now), state.breaker.opened)
            readings.append(Reading("target_breaker", names, float(seen)))
            readings.append(Reading("target_breaker_opened", names, float(opened)))
        if settings.balance == "ewma" and state.latency >= 0:
            readings.append(Reading("target_latency_seconds", names, latency_of(state, now)))
    return readings


def health_shown(upstream: CompiledUpstream, now: float) -> dict[str, Any]:
    """Of one upstream: whether it panics (health is ignored), and its retries."""
    budget = upstream.budget
    return {
        "panic": upstream.settings.panic_threshold > 0 and upstream.balancer.panics(now),
        "retries": {"exchanges": budget.active, "running": budget.retrying, "over_budget": budget.refused},
    }


def target_health_shown(upstream: CompiledUpstream, state: TargetState, now: float) -> dict[str, Any]:
    """Of one target: its breaker, null where there is none; how often, and for how long yet, it was put aside; its
    latency in seconds, null while not known or not asked for."""
    breaker: dict[str, Any] | None = None
    if upstream.settings.breaker is not None:
        breaker = {"state": "closed", "opened": 0} if state.breaker is None else state.breaker.shown(now)
    timed = upstream.settings.balance == "ewma" and state.latency >= 0
    return {
        "breaker": breaker,
        "aside": {"times": state.asides, "seconds": max(0.0, round(state.aside_until - now, 3))},
        "latency_seconds": round(latency_of(state, now), 6) if timed else None,
    }
