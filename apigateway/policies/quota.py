"""Limits how much is used in an hour, day, week or month of the calendar, or at all.

It is meant for what was agreed on with somebody: counters outlive restarts, operators read and reset them over
the management API, and a window begins when the clock on the wall says so: at the full hour, at 00:00, on Monday,
on the first of a month, in `zone`. A day on which the clock is set has 23 or 25 hours. With `per: never` there is
one window, which is never renewed.

One rule is written short (`limit`, `per`, `by`), several as `rules`; all of them are checked before any is taken
from. `by`, `tiers` and `cost` are those of `rate-limit`. Where the limit is reached the answer is 429 with
`Retry-After`, which tells when the window ends; where it never does, or what was asked for is more than a whole
window allows, there is no `Retry-After`. Answers tell how the quotas stand in `RateLimit` and `RateLimit-Policy`
(draft-ietf-httpapi-ratelimit-headers-11), or, by `headers`, in the older `X-RateLimit-*`.

Counters are kept where `state` says. With `memory:` that is a file in `data_dir` that all workers of the machine
share exactly; a killed process loses nothing, a machine that loses power perhaps its last moments. A counter of
`per: never` is forgotten 400 days after its last use.

When they cannot be kept, `on_store_failure` decides: `closed`, which is what is meant unless it is said, answers 503,
since nothing may be used that is not counted; `open` lets pass; `local` counts in this worker alone, from 0 on. What
`local` let through is not charged later, but counts in this worker until the window ends, so that there is no burst.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from math import inf
from typing import Literal

from pydantic import Field
from zope.interface import implementer

from apigateway.config.model import Name, Settings, Whole
from apigateway.flow.calendar_windows import CalendarWindows, Per, Zone, zone_named
from apigateway.flow.cost import Cost, check_cost, cost_of
from apigateway.flow.exchange import Exchange, Slot
from apigateway.flow.faults import QUOTA_EXCEEDED, Fault
from apigateway.flow.interfaces import IOnFault, IOnRequest, IOnResponse
from apigateway.flow.kinds import Call, Example, kind
from apigateway.flow.limit_fields import LimitFields, whole_seconds
from apigateway.flow.local_quotas import local_quotas
from apigateway.flow.outcome import Outcome
from apigateway.flow.quotas_shown import IKeepsQuotas, usage_facts
from apigateway.flow.rule_names import either_or, named_tiers, unique_names
from apigateway.flow.services import Services
from apigateway.flow.store_calls import now_or_later, when_answered
from apigateway.flow.tiers import TierMatch, consumers_named, tier_finder
from apigateway.flow.whose import By, CallerSettings, check_by, whose
from apigateway.flow.without_store import StoreFailureSettings, WithoutStore
from apigateway.ports.interfaces import Decision, Facts, IQuotaStore, Quota, StoreUnavailable, Usage

MOST = 1_000_000_000
RESET = "quota-reset"


class Rule(Settings):
    """So many units in a window."""

    limit: Whole = Field(ge=1, le=MOST, description="Units at most; a request takes `cost` of them.")
    per: Per = Field(description="In each of these; with never: at all.")
    by: By = Field(
        default="consumer",
        description="api, consumer, subject, ip, header:NAME or {expression}; of a list each combination.",
    )
    name: Name | None = Field(
        default=None, description="What RateLimit and operators call it; what `per` says, unless named."
    )


class Quotas(Settings):
    """One quota, written short, or several."""

    limit: Whole | None = Field(default=None, ge=1, le=MOST, description="Short for one rule: units at most.")
    per: Per | None = Field(default=None, description="Short for one rule: in each of these.")
    by: By = Field(default="consumer", description="Short for one rule: who shares a counter.")
    rules: tuple[Rule, ...] = Field(
        default=(), max_length=16, description="Several rules; a request has to pass all of them."
    )


class Tier(Quotas):
    """Other quotas for some callers."""

    match: TierMatch = Field(description="Who they are.")
    name: Name | None = Field(
        default=None, description="Of its counters; its number in the list, unless named."
    )


class Config(Quotas, CallerSettings, StoreFailureSettings):
    """How much may be used, and what is said of it."""

    zone: Zone = Field(
        default="UTC", description="Time zone whose clock says when a window begins, as in Europe/Berlin."
    )
    tiers: tuple[Tier, ...] = Field(
        default=(), max_length=32, description="Other quotas for some callers; the first that matches."
    )
    cost: Cost = Field(default=1, description="Units that a request takes, or an expression that gives them.")
    headers: Literal["draft", "legacy", "both", "none"] = Field(
        default="draft", description="What answers tell of the quotas."
    )
    on_store_failure: Literal["local", "open", "closed"] = Field(
        default="closed",
        description="When usage cannot be counted: answer 503, let pass, or count in this worker alone.",
    )


class Counted:
    """One rule of a tier (""), or of everybody else, ready to be counted."""

    __slots__ = ("full_name", "name", "prefix", "quota", "tier", "whose", "windows")

    def __init__(self, rule: Rule, name: str, tier: str, config: Config, services: Services) -> None:
        self.quota, self.name, self.tier = rule, name, tier
        self.full_name = f"{name}@{tier}" if tier else name
        self.prefix = f"{services.environment}/{services.place}/{self.full_name}/"
        self.whose = whose(rule.by, config.ipv6_prefix, services)
        self.windows = CalendarWindows(rule.per, zone_named(config.zone))


class CountedTier:
    """All rules of a tier. fields: what answers tell; made anew where a window begins."""

    def __init__(self, counted: Sequence[Counted], config: Config) -> None:
        self.counted = tuple(counted)
        self.names = [each.name for each in counted]
        self._draft = config.headers in ("draft", "both")
        self._legacy = config.headers in ("legacy", "both")
        self.fields = self._fields()

    def quotas(self, exchange: Exchange, wall: float) -> list[Quota]:
        """What an exchange has to be granted."""
        moved = [each.windows.move_to(wall) for each in self.counted]
        if any(moved):
            self.fields = self._fields()
        return [
            Quota(each.prefix + each.whose(exchange), each.quota.limit, each.windows.edges) for each in self.counted
        ]

    def _fields(self) -> LimitFields:
        rules = [(each.name, each.quota.limit, each.windows.seconds) for each in self.counted]
        return LimitFields(rules, draft=self._draft, legacy=self._legacy)


@implementer(IOnRequest, IOnResponse, IOnFault, IKeepsQuotas)
class QuotaPolicy:
    """Limits how much is used in an hour, day, week or month of the calendar, or at all."""

    def __init__(self, config: Config) -> None:
        self._config = config
        self._rules = _named_rules(config)
        self._tiers = named_tiers(config.tiers, _named_rules)
        check_cost(config.cost)
        for rule, _ in (*self._rules, *(named for *_, rules in self._tiers for named in rules)):
            check_by(rule.by)
            if isinstance(config.cost, int) and rule.limit < config.cost:
                raise ValueError("cost is more than a limit: no request could ever pass")
        # See flow.step_checks.
        self.keeps_quotas = True
        self.consumers_named = consumers_named(tier.match for tier in config.tiers)
        self._slot: Slot[tuple[LimitFields, Decision]] = Slot("quota", "how the quotas stand")

    def provision(self, services: Services) -> None:
        """Find the store, and name the counters by this step's place, so that they outlive a reload."""
        config = self._config
        self._store: IQuotaStore = services.quotas
        self._local = local_quotas(services)
        self._without = WithoutStore(config, services)
        self._metrics = services.metrics
        self._wall = services.clock.wall
        self._prefix = f"{services.environment}/{services.place}/"
        self._tell = services.notices.tell
        self._unhear = services.notices.hear(RESET, self._heard)
        self._step = services.place.rpartition("/")[2]
        self._slot = Slot(f"quota {services.place}", "how the quotas stand")

        def tier_of(rules: Sequence[tuple[Rule, str]], tier: str) -> CountedTier:
            return CountedTier([Counted(rule, name, tier, config, services) for rule, name in rules], config)

        everybody = tier_of(self._rules, "")
        named = [(tier.match, tier_of(rules, name)) for name, tier, rules in self._tiers]
        self._tier_of: Callable[[Exchange], CountedTier] = tier_finder(named, everybody)
        every = [each for tier in (everybody, *(tier for _, tier in named)) for each in tier.counted]
        self._by_name = {each.full_name: each for each in every}
        self._cost_of = cost_of(config.cost, services)
        self._cost = config.cost if isinstance(config.cost, int) else 0

    def close(self) -> None:
        """Counters stay: they are what was agreed on."""
        self._unhear()

    def _heard(self, body: bytes) -> None:
        """A worker reset a counter."""
        key = body.decode("utf-8", "replace")
        if self._local.until and key.startswith(self._prefix):
            self._local.reset(key)

    def on_request(self, exchange: Exchange) -> Outcome:
        """Take from every quota, or refuse."""
        tier = self._tier_of(exchange)
        cost = self._cost if self._cost_of is None else self._cost_of(exchange)
        quotas = tier.quotas(exchange, self._wall())
        if self._local.until:
            refusal = self._local.refusal(quotas, cost)
            if refusal is not None:
                self._without.note(exchange)
                self._decided(exchange, tier, refusal)
        try:
            answer = self._store.consume(quotas, cost)
        except StoreUnavailable as error:
            self._without_store(exchange, tier, quotas, cost, error)
            return None
        if not isinstance(answer, Decision):
            return when_answered(
                answer,
                lambda decision: self._answered(exchange, tier, quotas, cost, decision),
                lambda error: self._without_store(exchange, tier, quotas, cost, error),
            )
        self._answered(exchange, tier, quotas, cost, answer)
        return None

    def on_response(self, exchange: Exchange) -> Outcome:
        """Tell how the quotas stand."""
        found = exchange.take(self._slot)
        if found is not None and exchange.response is not None:
            found[0].tell(exchange.response.headers, found[1].standings)
        if self._without.tells:
            self._without.tell(exchange)
        return None

    def on_fault(self, exchange: Exchange, fault: Fault) -> Outcome:
        """Tell it on the gateway's own answers, too."""
        return self.on_response(exchange)

    # ---- the decision

    def _answered(
        self, exchange: Exchange, tier: CountedTier, quotas: Sequence[Quota], cost: int, decision: Decision
    ) -> None:
        if self._local.until and decision.granted:
            decision = self._local.also(quotas, cost, decision)
        self._decided(exchange, tier, decision)

    def _without_store(
        self, exchange: Exchange, tier: CountedTier, quotas: Sequence[Quota], cost: int, error: StoreUnavailable
    ) -> None:
        if self._without.goes_on(exchange, error):
            self._decided(exchange, tier, self._local.use(quotas, cost))

    def _decided(self, exchange: Exchange, tier: CountedTier, decision: Decision) -> None:
        self._metrics.limit_decision(exchange.api, exchange.route, self._step, decision.granted)
        exchange.put(self._slot, (tier.fields, decision))
        if not decision.granted:
            raise _refusal(tier.names, decision)

    # ---- see IKeepsQuotas

    def rules(self) -> list[Facts]:
        return [
            {
                "name": each.full_name,
                "limit": each.quota.limit,
                "per": each.quota.per,
                "zone": self._config.zone,
                "by": each.quota.by,
                "tier": each.tier or None,
            }
            for each in self._by_name.values()
        ]

    async def usage(self, key: str, most: int) -> list[Facts]:
        if key:
            rule = self._named_in(key).quota
            # Windows of its own: those of requests are moved by requests, which make the fields anew then.
            windows = CalendarWindows(rule.per, zone_named(self._config.zone))
            windows.move_to(self._wall())
            asked = [Quota(self._prefix + key, rule.limit, windows.edges)]
            found = await now_or_later(self._store.usage(asked))
        else:
            found = await now_or_later(self._store.used_by(self._prefix, most))
        shown = (self._shown(usage) for usage in found)
        return sorted((facts for facts in shown if facts is not None), key=lambda facts: str(facts["key"]))

    async def reset(self, key: str) -> bool:
        self._named_in(key)
        done = await now_or_later(self._store.reset(self._prefix + key))
        # What workers hold of a time without the store is forgotten, too.
        self._tell(RESET, (self._prefix + key).encode("utf-8", "replace"))
        return done

    def _named_in(self, key: str) -> Counted:
        name, slash, _ = key.partition("/")
        if not slash or name not in self._by_name:
            raise LookupError(f"no rule has the key {key!r}; a key begins with the rule's name and a slash")
        return self._by_name[name]

    def _shown(self, usage: Usage) -> Facts | None:
        """None for what is no counter of a rule that this step has."""
        key = usage.key.removeprefix(self._prefix)
        counted = self._by_name.get(key.partition("/")[0])
        if counted is None:
            return None
        return usage_facts(usage, key, counted.full_name, counted.quota.limit, zone_named(self._config.zone))


def _refusal(names: Sequence[str], decision: Decision) -> Fault:
    refused = [name for name, one in zip(names, decision.standings, strict=True) if one.retry_after > 0]
    wait = max(standing.retry_after for standing in decision.standings)
    headers = () if wait == inf else ((b"retry-after", b"%d" % max(1, whole_seconds(wait))),)
    return Fault(
        QUOTA_EXCEEDED, public="The quota is used up.", headers=headers, members={"violated-policies": refused}
    )


# ---- rules, each with a name


def _named_rules(quotas: Quotas) -> list[tuple[Rule, str]]:
    rules = quotas.rules
    if not either_or((quotas.limit, quotas.per), rules):
        rules = (Rule.model_validate({"limit": quotas.limit, "per": quotas.per, "by": quotas.by}),)
    names = unique_names([(rule.name, rule.per) for rule in rules], "rules")
    return list(zip(rules, names, strict=True))


KIND = kind("quota", config=Config, policy=QuotaPolicy, guards=True)

# Of the key "of-acme".
_OF_ACME = "0412cd0552e4187cae04723b2bc01eed7edba6afa51907359bbb7019b509ca4c"

EXAMPLES = (
    Example(
        "Two requests a day for each address, from midnight to midnight in Berlin",
        {"limit": 2, "per": "day", "by": "ip", "zone": "Europe/Berlin"},
        (
            # The clock of the examples begins at 23:13:20 there.
            Call(status=200, fields={"ratelimit-policy": '"day";q=2;w=86400', "ratelimit": '"day";r=1;t=2800'}),
            Call(status=200),
            Call(status=429, sent=False, contains="quota-exceeded", fields={"retry-after": "2800"}),
            Call(client="198.51.100.7", status=200),
            Call(after=2800.0, status=200),
        ),
    ),
    Example(
        "Five at all, for each tenant",
        {"rules": [{"limit": 5, "per": "never", "by": "header:X-Tenant", "name": "trial"}], "headers": "both"},
        (
            Call(headers=(("X-Tenant", "a"),), status=200, fields={"x-ratelimit-remaining": "4"}),
            Call(headers=(("X-Tenant", "a"),), status=200, fields={"x-ratelimit-remaining": "3"}),
            Call(headers=(("X-Tenant", "a"),), status=200, fields={"x-ratelimit-remaining": "2"}),
            Call(headers=(("X-Tenant", "a"),), status=200, fields={"x-ratelimit-remaining": "1"}),
            Call(headers=(("X-Tenant", "a"),), status=200, fields={"x-ratelimit-remaining": "0"}),
            Call(
                headers=(("X-Tenant", "a"),),
                after=86400.0 * 365,
                status=429,
                sent=False,
                fields={"retry-after": None, "ratelimit-policy": '"trial";q=5', "ratelimit": '"trial";r=0'},
            ),
            Call(headers=(("X-Tenant", "b"),), status=200),
        ),
    ),
    Example(
        "More for partners; and what costs more takes more",
        {
            "rules": [{"limit": 10, "per": "hour"}, {"limit": 100, "per": "month"}],
            "cost": 'request.method == "POST" ? 10 : 1',
            "tiers": [{"name": "partner", "match": {"role": "partner"}, "limit": 10000, "per": "month"}],
        },
        (
            Call(method="POST", status=200),
            Call(status=429, sent=False, contains="hour"),
            Call(
                headers=(("X-Key", "of-acme"),),
                method="POST",
                status=200,
                fields={"ratelimit-policy": '"month";q=10000;w=2592000'},
            ),
        ),
        consumers=({"name": "acme", "roles": ["partner"], "api_keys": [{"sha256": _OF_ACME}]},),
        before=({"policy": "api-key", "with": {"header": "X-Key", "anonymous": True}},),
    ),
)
