"""A revision that carries traffic: its routes and plans, counted by the exchanges that began with it."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Any

from apigateway.flow import faults
from apigateway.flow.exchange import Connection, Exchange
from apigateway.flow.faults import Fault
from apigateway.flow.hostnames import covers, normal_host
from apigateway.flow.path_tree import strip_prefix
from apigateway.flow.plan import Plan
from apigateway.flow.routing import Match, Router, WrongMethod
from apigateway.flow.upstream import CompiledUpstream
from apigateway.wire.message import Refusal, Request
from apigateway.wire.target import PathRules, split_path


class LiveRevision:
    """What a worker serves. fallback: the plan of requests that no route took.

    An exchange `enter`s and `leave`s; a retired revision calls `closed` once, after its last exchange has left.
    """

    def __init__(
        self, digest: str, router: Router, rules: PathRules, fallback: Plan, plans: Sequence[Plan],
        upstreams: Mapping[str, CompiledUpstream],
    ) -> None:
        self.digest = digest
        self.router = router
        self.rules = rules
        self.fallback = fallback
        self.plans = plans
        self.upstreams = upstreams
        self.active = 0
        self._closed: Callable[[], Any] | None = None

    # ---- life

    def enter(self) -> None:
        """An exchange begins with this revision."""
        self.active += 1

    def leave(self) -> None:
        """It is over."""
        self.active -= 1
        if self._closed is not None and self.active == 0:
            closed, self._closed = self._closed, None
            closed()

    def retire(self, closed: Callable[[], Any]) -> None:
        """No new exchange will begin; `closed` is called when the last one has ended, at once where there is none."""
        if self.active == 0:
            closed()
        else:
            self._closed = closed

    # ---- routing

    def route(self, exchange: Exchange) -> Plan:
        """Find the plan of an exchange and say so in it. A Fault: 400, 404, 405, 421."""
        request = exchange.request
        connection = exchange.connection
        if connection.certificate_names and not _shown_for(connection, request):
            raise Fault(faults.MISDIRECTED, public="this name is not served on this connection")
        split = split_path(request.path, self.rules)
        if split.__class__ is Refusal:
            raise Fault(faults.BAD_REQUEST, public=split.detail, private=split.section)
        path, segments = split  # type: ignore[misc]
        if path is not request.path:
            request.retarget(_with_query(path, request.query))
            request.received = request.target  # rules see the one form that is matched and sent on
        match = self.router.match(segments, exchange)
        if match.__class__ is not Match:
            raise self._unrouted(match)
        plan: Plan = match.entry.plan
        exchange.plan = plan
        exchange.api = plan.api
        exchange.route = plan.route
        exchange.version = plan.version
        exchange.params = match.params
        if plan.strip:
            request.retarget(_with_query(strip_prefix(request.path, match.strip), request.query))
        return plan

    @staticmethod
    def _unrouted(match: object) -> Fault:
        if isinstance(match, WrongMethod):
            return Fault(faults.METHOD_NOT_ALLOWED, headers=((b"allow", match.allow),))
        return Fault(faults.NO_ROUTE)


def _with_query(path: bytes, query: bytes | None) -> bytes:
    return path if query is None else path + b"?" + query


def _shown_for(connection: Connection, request: Request) -> bool:
    """Whether the certificate we showed names the host that is asked for (RFC 9110 7.4)."""
    return covers(connection.certificate_names, normal_host(request.authority.decode("latin-1")))
