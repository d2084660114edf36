"""What a worker shows beside what it counts: read when somebody asks."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

from apigateway.dataplane.listener_tls import ListenerTlsContext
from apigateway.dataplane.upstream_health import health_readings, health_shown, target_health_shown
from apigateway.flow.live import LiveRevision
from apigateway.flow.target_state import TargetState
from apigateway.flow.upstream import CompiledUpstream
from apigateway.ports.interfaces import Reading

if TYPE_CHECKING:
    from apigateway.dataplane.bound import Bound


def readings_of(bound: Sequence[Bound], revision: LiveRevision, now: float) -> list[Reading]:
    """Of the listeners, and of the targets of the running revision; now: monotonic seconds."""
    readings = [
        Reading("connections", (one.listener.name,), float(len(one.listener.connections))) for one in bound
    ]
    for one in bound:
        name = one.listener.name
        if one.tls is not None:
            readings += _of_certificates(name, one.tls)
        if one.listener.settings.proxy_protocol is not None:
            refused = float(one.listener.proxy_headers_refused)
            readings.append(Reading("proxy_headers_refused", (name,), refused))
    for upstream in revision.upstreams.values():
        for state in _states(upstream):
            pool: Any = upstream.connectors[state]
            names = (upstream.name, state.name)
            usable = state in upstream.balancer.states and state.out_until <= now
            readings.append(Reading("target_healthy", names, float(usable)))
            readings.append(Reading("target_active", names, float(state.active)))
            readings.append(Reading("upstream_connections", (*names, "idle"), float(pool.idle)))
            readings.append(Reading("upstream_connections", (*names, "busy"), float(pool.busy)))
        readings += _of_steering(upstream, now)
        readings += health_readings(upstream, now)
    return readings


def _of_steering(upstream: CompiledUpstream, now: float) -> list[Reading]:
    readings = []
    canaries, mirror = upstream.balancer.canaries, upstream.mirror
    if canaries is not None:
        readings.append(Reading("canary_cooling", (upstream.name,), float(canaries.cools(now))))
    if mirror is not None:
        counts = mirror.state.shown()
        readings += [Reading("mirror_copies", (upstream.name, what), float(count)) for what, count in counts.items()]
    return readings


def upstreams_shown(revision: LiveRevision, now: float) -> list[dict[str, Any]]:
    """See IWorker.upstreams; now: monotonic seconds."""
    return [
        {
            "name": upstream.name, "balance": upstream.settings.balance, "verified": upstream.settings.tls.verify,
            "targets": [target_shown(upstream, state, now) for state in _states(upstream)],
            **_steering_shown(upstream, now),
            **health_shown(upstream, now),
        }
        for upstream in revision.upstreams.values()
    ]


def _steering_shown(upstream: CompiledUpstream, now: float) -> dict[str, Any]:
    """What there is of canaries, mirrors and sticky sessions."""
    shown: dict[str, Any] = {}
    canaries, mirror, sticky = upstream.balancer.canaries, upstream.mirror, upstream.sticky
    if canaries is not None:
        shown["canary"] = canaries.shown(now)
    if mirror is not None:
        shown["mirror"] = {"running": mirror.state.running, **mirror.state.shown()}
    if sticky is not None:
        shown["sticky"] = {"cookie": sticky.cookie}
    return shown


def _states(upstream: CompiledUpstream) -> list[TargetState]:
    """Its targets, and places of a service that have gone while something runs on them."""
    there = upstream.balancer.states
    return [state for state in upstream.places if state in there or state.active]


def target_shown(upstream: Any, state: Any, now: float) -> dict[str, Any]:
    """One target of a compiled upstream."""
    pool = upstream.connectors[state]
    there = state in upstream.balancer.states
    return {
        "name": state.name, "url": state.url, "healthy": state.healthy, "draining": state.draining,
        "usable": there and state.out_until <= now,
        "why": state.out(now) if there else "no longer a place of its service", "active": state.active,
        "connections": {"idle": pool.idle, "busy": pool.busy}, "addresses": list(pool.name.addresses),
        **target_health_shown(upstream, state, now),
    }


def _of_certificates(listener: str, tls: ListenerTlsContext) -> list[Reading]:
    ends = [
        Reading(
            "certificate_not_after_seconds", (listener, (one.names or (one.cert_path,))[0]), one.not_after.timestamp()
        )
        for one in tls.certificates
    ]
    return [*ends, Reading("certificates_refused", (listener,), float(tls.refused))]
