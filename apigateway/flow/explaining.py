"""Plans and decisions for people: what stands in a plan, and what would become of a request. Nothing is sent."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any
from urllib.parse import urlsplit

from apigateway.config.check_upstreams import target_name
from apigateway.flow.drafting import Draft
from apigateway.flow.exchange import Connection, Exchange
from apigateway.flow.explain_route import explain as explain_route
from apigateway.flow.faults import Fault
from apigateway.flow.plan import Plan
from apigateway.flow.steps import Gate, NeedBody, StepInfo
from apigateway.flow.upstream import CompiledUpstream
from apigateway.wire.headers import Headers
from apigateway.wire.message import Refusal, Request
from apigateway.wire.target import split_path


def plan_view(draft: Draft, api: str, route: str) -> dict[str, Any]:
    """The compiled steps of a route, in order, per direction. LookupError where there is no such route."""
    for plan in draft.plans:
        if (plan.api, plan.route) == (api, route):
            return {
                "api": api, "route": route, "request": request_steps(plan),
                "response": _response_steps(plan),
                "fault": [_step(entry.info) for entry in plan.faults],
                "error": [_step(entry.info) for entry in plan.error_flow],
                "upstream": _upstreams(plan),
            }
    raise LookupError(f"there is no route {route!r} in an Api {api!r}")


def request_steps(plan: Plan) -> list[dict[str, Any]]:
    """What the request direction walks: steps, conditions (with the number of entries they pass over), body needs."""
    rows: list[dict[str, Any]] = []
    for index, (hook, info) in enumerate(zip(plan.request, plan.infos, strict=True)):
        if isinstance(hook, Gate):
            rows.append({"when": hook.condition.source, "else_passes_over": hook.jump - index - 1})
        elif isinstance(hook, NeedBody):
            rows.append({"buffers": hook.max})
        elif info is not None:
            rows.append(_step(info))
    return rows


def _response_steps(plan: Plan) -> list[dict[str, Any]]:
    """A step with a condition or a body need has several entries."""
    return [_step(info) for info in dict.fromkeys(entry.info for entry in plan.response)]


def explain(
    draft: Draft, method: str, url: str, headers: Sequence[tuple[str, str]], *, now: float = 0.0,
    client: str = "127.0.0.1",
) -> dict[str, Any]:
    """Which route a request would take, its steps, its target, and why not the others.

    url: absolute, or a path (the host then is the Host header's). ValueError for what is no request.
    """
    exchange = _exchange(method, url, headers, client)
    router = draft.router
    if router is None:
        raise ValueError("the configuration has no routes that could be built")
    split = split_path(exchange.request.path, draft.rules)
    if isinstance(split, Refusal):
        return {"route": None, "fault": {"status": split.status, "detail": split.detail}, "candidates": []}
    segments = split[1]
    result: dict[str, Any] = {"route": None, "api": None}
    match = router.match(segments, exchange)
    plan = getattr(match, "plan", None)
    if plan is None:
        allow = getattr(match, "allow", None)
        result["fault"] = {"status": 404} if allow is None else {"status": 405, "allow": allow.decode("ascii")}
    else:
        exchange.api, exchange.route, exchange.params, exchange.plan = plan.api, plan.route, match.params, plan  # type: ignore[union-attr]
        result |= {
            "api": plan.api, "route": plan.route, "params": dict(exchange.params), "steps": request_steps(plan),
            "response_steps": _response_steps(plan),
            **_target(plan, exchange, now),
        }
    considered = explain_route(router, segments, exchange)
    result["candidates"] = [{"api": one.api, "route": one.route, "why_not": one.why_not} for one in considered]
    return result


def _exchange(method: str, url: str, headers: Sequence[tuple[str, str]], client: str) -> Exchange:
    parts = urlsplit(url)
    if not (method + url + "".join(name for name, _ in headers)).isascii():
        raise ValueError("a method, a URL and the names of fields are ASCII")
    lines = [(name.lower().encode(), _octets(value)) for name, value in headers]
    host = parts.netloc.encode("ascii") or next((value for name, value in lines if name == b"host"), b"localhost")
    target = (parts.path or "/") + (f"?{parts.query}" if parts.query else "")
    request = Request(
        method.upper().encode("ascii"), target.encode("ascii"), Headers(line for line in lines if line[0] != b"host"),
        authority=host, scheme=parts.scheme or "http",
    )
    return Exchange("explain", request, Connection(peer=client, scheme=request.scheme), client, 0.0)


def _octets(value: str) -> bytes:
    """A field's value as it would be sent: ISO 8859-1, and UTF-8 where that has no such letter."""
    try:
        return value.encode("latin-1")
    except UnicodeEncodeError:
        return value.encode()


def _target(plan: Plan, exchange: Exchange, now: float) -> dict[str, Any]:
    """The upstream the exchange would go to and its targets; a choice over what is not known here is named so."""
    upstream = plan.upstream
    try:
        for condition, choice in plan.choices:
            if condition is None or condition.holds(exchange):
                upstream = choice
                break
    except Fault as fault:
        return {"upstream": None, "upstream_unknown": fault.private or fault.public}
    if upstream is None:
        return {"upstream": None, "targets": []}
    verdicts = upstream.balancer.why_not(exchange, now)
    return {
        "upstream": upstream.name,
        "targets": [
            {"name": one.state.name, "url": one.state.url, "chosen": not one.why_not, "why_not": one.why_not}
            for one in verdicts
        ] + [
            {"name": target_name(one), "url": one.url, "chosen": False, "why_not": "no place of its service is known"}
            for one in upstream.balancer.without_places()
        ],
    }


def _step(info: StepInfo) -> dict[str, Any]:
    return {
        "step": info.name, "kind": info.kind, "place": info.place, "mode": "shadow" if info.shadow else "enforce",
        "pointer": info.pointer,
    }


def _upstreams(plan: Plan) -> Any:
    if plan.choices:
        return [
            {"upstream": upstream.name, "when": condition.source if condition else None}
            for condition, upstream in plan.choices
        ]
    chosen: CompiledUpstream | None = plan.upstream
    return chosen.name if chosen else None


