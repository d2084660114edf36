"""From the settings of a revision to plans: everything is checked, and every problem found, before anything begins."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime
from email.utils import format_datetime
from functools import partial

from apigateway.config.model import Api, RevisionSettings, Route, UpstreamChoice
from apigateway.errors import ConfigurationRefused, Problem
from apigateway.flow.interfaces import ICondition
from apigateway.flow.plan import Plan
from apigateway.flow.plan_builder import PlanBuilder
from apigateway.flow.routing import RouteEntry, Router
from apigateway.flow.units import HolderUnits, Unit, UnitMaker
from apigateway.flow.upstream import CompiledUpstream
from apigateway.text import parse_date
from apigateway.wire.target import PathRules


@dataclass
class Draft:
    """A revision that was checked and constructed, and not begun. `problems` decides whether it may be."""

    router: Router | None = None
    rules: PathRules = field(default_factory=PathRules)
    fallback: Plan = field(default_factory=Plan)
    plans: list[Plan] = field(default_factory=list)
    units: Sequence[Unit] = ()
    upstreams: Mapping[str, CompiledUpstream] = field(default_factory=dict)
    problems: list[Problem] = field(default_factory=list)

    @property
    def errors(self) -> list[Problem]:
        """The problems that refuse the revision."""
        return [problem for problem in self.problems if not problem.warning]


class Drafter:
    """Makes the draft of one revision."""

    def __init__(self, settings: RevisionSettings, maker: UnitMaker, upstreams: Mapping[str, CompiledUpstream]) -> None:
        self._settings = settings
        self._maker = maker
        self._draft = Draft(upstreams=upstreams)

    def draft(self) -> Draft:
        """The draft, with every problem of routes, steps and conditions."""
        settings, draft = self._settings, self._draft
        draft.rules = PathRules(**settings.paths.model_dump())
        gateway = self._maker.holder(settings, "gateway", "")
        entries = self._entries()
        draft.fallback = self._fallback(gateway)
        for number, api in enumerate(settings.apis):
            holder = self._maker.holder(api, f"api/{api.name}", f"/apis/{number}")
            for index, route in enumerate(api.routes):
                pointer = f"/apis/{number}/routes/{index}"
                plan = self._plan(gateway, holder, api, route, pointer)
                draft.plans.append(plan)
                entry = entries.get((api.name, route.name))
                if entry is not None:
                    entry.plan = plan
        draft.units = tuple(self._maker.units)
        draft.problems.extend(self._maker.problems)
        return draft

    def _entries(self) -> dict[tuple[str, str], RouteEntry]:
        try:
            router = Router(self._settings.apis, partial(_condition, self._maker))
        except ConfigurationRefused as refused:
            self._draft.problems.extend(refused.problems)
            return {}
        self._draft.router = router
        return {(entry.api.name, entry.route.name): entry for entry in router.entries}

    def _fallback(self, gateway: HolderUnits) -> Plan:
        """Requests that no route took walk nothing but the gateway's error flow."""
        plan = Plan()
        plan.error_flow = PlanBuilder(gateway).build().error_flow
        return plan

    def _plan(self, gateway: HolderUnits, api: HolderUnits, settings: Api, route: Route, pointer: str) -> Plan:
        holder = self._maker.holder(route, f"api/{settings.name}/route/{route.name}", pointer)
        builder = PlanBuilder(gateway, api, holder, api_settings=settings, route_settings=route, pointer=pointer)
        plan = builder.build()
        plan.strip = settings.strip_base_path
        plan.additions = version_fields(settings)
        if isinstance(route.upstream, str):
            plan.upstream = self._draft.upstreams.get(route.upstream)
        elif route.upstream is not None:
            builder.choose(self._choices(route.upstream, pointer), f"{pointer}/upstream")
        self._draft.problems.extend(builder.problems)
        return plan

    def _choices(
        self, choices: Sequence[UpstreamChoice], pointer: str
    ) -> list[tuple[ICondition | None, CompiledUpstream]]:
        made = []
        for index, choice in enumerate(choices):
            condition = None
            if choice.when is not None:
                condition = self._maker.condition(choice.when, f"{pointer}/upstream/{index}/when")
            upstream = self._draft.upstreams.get(choice.upstream)
            if upstream is not None:
                made.append((condition, upstream))
        return made


def version_fields(api: Api) -> tuple[tuple[bytes, bytes], ...]:
    """What answers of an outdated version say: Deprecation (RFC 9745: @unix-seconds) and Sunset (RFC 8594: a date)."""
    lines: list[tuple[bytes, bytes]] = []
    if deprecated := _date(api.deprecated):
        lines.append((b"deprecation", b"@%d" % int(deprecated.timestamp())))
    if sunset := _date(api.sunset):
        lines.append((b"sunset", format_datetime(sunset.astimezone(UTC), usegmt=True).encode("ascii")))
    return tuple(lines)


def _date(text: str | None) -> datetime | None:
    """None, too, for what is no date: config.check tells of it, and a draft is made all the same."""
    try:
        return parse_date(text) if text is not None else None
    except ValueError:
        return None


def _condition(maker: UnitMaker, source: str) -> ICondition:
    """Of a route's `when`. The router keeps how it is made: what made the draft may not be in it, or the draft would
    refer to itself (see dataplane.building)."""
    before = len(maker.problems)
    condition = maker.condition(source, "")
    if condition is None:
        raise ValueError(maker.problems.pop(before).message)
    return condition
