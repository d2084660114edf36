"""What a worker shows beside what it counts: read when somebody asks."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

from apigateway.dataplane.listener_tls import ListenerTlsContext
from apigateway.flow.live import LiveRevision
from apigateway.ports.interfaces import Reading

if TYPE_CHECKING:
    from apigateway.dataplane.worker import Bound


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
        for state in upstream.places:
            pool: Any = upstream.connectors[state]
            names = (upstream.name, state.name)
            readings.append(Reading("target_healthy", names, float(state.out_until <= now)))
            readings.append(Reading("target_active", names, float(state.active)))
            readings.append(Reading("upstream_connections", (*names, "idle"), float(pool.idle)))
            readings.append(Reading("upstream_connections", (*names, "busy"), float(pool.busy)))
    return readings


def upstreams_shown(revision: LiveRevision, now: float) -> list[dict[str, Any]]:
    """See IWorker.upstreams; now: monotonic seconds."""
    return [
        {
            "name": upstream.name, "balance": upstream.settings.balance, "verified": upstream.settings.tls.verify,
            "targets": [target_shown(upstream, state, now) for state in upstream.places],
        }
        for upstream in revision.upstreams.values()
    ]


def target_shown(upstream: Any, state: Any, now: float) -> dict[str, Any]:
    """One target of a compiled upstream."""
    pool = upstream.connectors[state]
    return {
        "name": state.name, "url": state.url, "healthy": state.healthy, "draining": state.draining,
        "usable": state.out_until <= now, "why": state.out(now), "active": state.active,
        "connections": {"idle": pool.idle, "busy": pool.busy}, "addresses": list(pool.name.addresses),
    }


def _of_certificates(listener: str, tls: ListenerTlsContext) -> list[Reading]:
    ends = [
        Reading(
            "certificate_not_after_seconds", (listener, (one.names or (one.cert_path,))[0]), one.not_after.timestamp()
        )
        for one in tls.certificates
    ]
    return [*ends, Reading("certificates_refused", (listener,), float(tls.refused))]
