"""Upstreams: pools of targets, how one of them is chosen, and what keeps one from being chosen."""

from __future__ import annotations

from typing import Annotated, Literal, get_args

from pydantic import BeforeValidator, Field, WithJsonSchema

from apigateway.config.fields import (
    CertificateFiles,
    Duration,
    FilePath,
    Name,
    Percent,
    Settings,
    Size,
    Status,
    Truth,
    Whole,
)
from apigateway.config.steering_model import Canary, Mirror, Sticky


class UpstreamTls(Settings):
    """TLS towards targets whose url is https."""

    verify: Truth = Field(
        default=True, description="Off is shown in status and logged: nobody knows then who answers."
    )
    ca: FilePath | None = Field(
        default=None, description="Path of the CAs to believe, PEM; the system's unless named."
    )
    server_name: str | None = Field(
        default=None, description="Name sent as SNI and checked; the target's host unless named."
    )
    certificate: CertificateFiles | None = Field(
        default=None, description="Shown to targets that ask for one."
    )


class Target(Settings):
    """One address of an upstream."""

    url: str = Field(
        description='"http[s]://host[:port][/path]"; the path is put in front of the target. '
        '"http[s]+srv://name[/path]": wherever the SRV records of the name lead.'
    )
    name: Name | None = Field(default=None, description="host:port, unless named.")
    weight: Whole = Field(default=1, ge=0, le=10_000, description="Share of the traffic; 0: none.")
    role: Literal["primary", "failover", "canary", "mirror"] = Field(
        default="primary",
        description="failover: asked, in this order, when no primary is healthy. canary: gets a part of the exchanges. "
        "mirror: gets copies.",
    )


# A share of nothing would be passed by everyone.
Share = Annotated[Percent, Field(gt=0)]


class PassiveHealth(Settings):
    """What traffic itself says of a target."""

    failures: Whole = Field(
        default=5, ge=1, description="In a row, before it is put aside; the breaker's business where there is one."
    )
    percent: Share | None = Field(
        default=None, description="Failed share of the window at which it is put aside; none: not looked at."
    )
    window: Duration = Field(default=30.0, description="What percent looks back on.")
    minimum: Whole = Field(default=20, ge=1, description="Exchanges in the window, before percent is looked at.")
    aside_for: Duration = Field(
        default=10.0, description="How long; then it is tried again. Each further time is longer by as much."
    )
    longest: Duration = Field(
        default=60.0, description="What that grows to. Each aside_for that it is not put aside takes one time off."
    )
    max_aside: Share = Field(
        default=0.5,
        description="While so many of the upstream's targets are aside, none follows; the last usable one never does.",
    )
    statuses: tuple[Status, ...] = Field(
        default=(502, 503, 504), description="Answers that count as failures."
    )


class Breaker(Settings):
    """Keeps exchanges from a target that fails, until probes go well. Give failures or percent."""

    window: Duration = Field(default=10.0, description="In which is counted.")
    failures: Whole | None = Field(
        default=None, ge=1, le=10_000, description="In the window, at which it opens; 5, unless percent is given."
    )
    percent: Share | None = Field(default=None, description="Failed share of the window at which it opens.")
    minimum: Whole = Field(default=20, ge=1, description="Exchanges in the window, before percent is looked at.")
    open_for: Duration = Field(default=30.0, description="How long nothing is let through.")
    half_open_probes: Whole = Field(
        default=1, ge=1, le=1000, description="Exchanges let through then; it closes when all of them went well."
    )
    statuses: tuple[Status, ...] = Field(
        default=(502, 503, 504), description="Answers that count as failures."
    )


class Health(Settings):
    """How the health of targets is learnt. Targets are healthy until checked."""

    path: str | None = Field(default=None, description="GET on each target; none: no active check.")
    interval: Duration = Field(default=30.0, description="Between two checks of a target.")
    timeout: Duration = Field(default=5.0, description="Of one check.")
    unhealthy_after: Whole = Field(default=3, ge=1, description="Failed checks in a row.")
    healthy_after: Whole = Field(default=2, ge=1, description="Good checks in a row.")
    statuses: tuple[Status, ...] = Field(default=(), description="Good answers; none named: 200 to 399.")
    host: str | None = Field(default=None, description="Host of the check; the target's unless named.")
    passive: PassiveHealth | None = Field(
        default=PassiveHealth(), description="What traffic itself says; null: nothing."
    )


def _status_as_text(value: object) -> object:
    # 502 needs no quotes in a list of reasons.
    return str(value) if isinstance(value, int) and not isinstance(value, bool) else value


_REASONS = Literal["connect-failure", "reset-before-response", "timeout", "500", "502", "503", "504", "429"]
RETRY_REASON = Annotated[
    _REASONS,
    BeforeValidator(_status_as_text),
    WithJsonSchema({"enum": [*get_args(_REASONS), 500, 502, 503, 504, 429]}),
]


class Retry(Settings):
    """When an exchange is tried again: only what was not sent, or may be repeated (RFC 9110 9.2.2)."""

    attempts: Whole = Field(default=2, ge=1, le=10, description="With the first.")
    retry_on: tuple[RETRY_REASON, ...] = Field(
        default=("connect-failure", "reset-before-response", "502", "503"), description="What is tried again."
    )
    budget: Percent = Field(
        default=0.2,
        description="Retries of what was sent that run at once, of the active exchanges.",
    )
    budget_minimum: Whole = Field(
        default=3, ge=0, description="Retries that may always run at once: a share of little traffic is none."
    )
    buffer: Size = Field(
        default=64 * 1024, description="How much of a request body is kept to be sent again."
    )
    backoff: Duration = Field(
        default=0.025, description="Before the second retry, doubled from then on, with jitter."
    )


class Timeouts(Settings):
    """Limits of time towards an upstream."""

    connect: Duration = Field(default=2.0, description="To be connected, the TLS handshake with it.")
    response: Duration = Field(default=30.0, description="From the last octet sent to the response head.")
    idle: Duration = Field(default=60.0, description="Between two reads of a response body.")
    total: Duration = Field(
        default=60.0, description="From the last request step to the response head, all attempts."
    )


class Pool(Settings):
    """Connections kept to each target."""

    max_idle: Whole = Field(default=128, ge=0, description="Connections kept.")
    idle_timeout: Duration = Field(
        default=30.0, description="An idle one is closed after this, or what Keep-Alive of the target says."
    )
    max_connections: Whole | None = Field(
        default=None, ge=1, description="Per target; further exchanges get 503."
    )


class HashOn(Settings):
    """What consistent-hash looks at; exactly one source."""

    source: Literal["ip", "path", "header", "cookie", "expression"] = Field(
        default="ip", description="What decides the target."
    )
    name: str | None = Field(default=None, description="Of the header or cookie, or the CEL expression.")


class Upstream(Settings):
    """A named pool of targets."""

    name: Name = Field(description="What routes call it.")
    targets: tuple[Target, ...] = Field(min_length=1, description="Where it is.")
    balance: Literal[
        "round-robin", "least-connections", "least-recently-used", "random", "consistent-hash", "ewma"
    ] = Field(default="round-robin", description="How a target is chosen.")
    hash_on: HashOn = Field(default=HashOn(), description="For consistent-hash.")
    host: str = Field(default="target", description='Host sent on: "target", "preserve", or a name.')
    forwarded: Literal["x-forwarded", "rfc7239", "both", "none"] = Field(
        default="x-forwarded", description="Which fields tell a target who asked."
    )
    health: Health = Field(default=Health(), description="How the health of targets is learnt.")
    breaker: Breaker | None = Field(default=None, description="Stops what goes to a target that fails; null: none.")
    panic_threshold: Percent = Field(
        default=0.0, description="Health is ignored while fewer targets than this are usable; 0%: never."
    )
    slow_start: Duration | None = Field(
        default=None, description="Over which the weight of a target that came back rises; null: at once."
    )
    retry: Retry = Field(default=Retry(), description="When an exchange is tried again.")
    timeouts: Timeouts = Field(default=Timeouts(), description="How long is waited.")
    pool: Pool = Field(default=Pool(), description="Connections kept.")
    tls: UpstreamTls = Field(default=UpstreamTls(), description="For targets whose url is https.")
    canary: Canary = Field(default=Canary(), description="How canaries are tried.")
    mirror: Mirror = Field(default=Mirror(), description="How requests are copied to mirrors.")
    sticky: Sticky | None = Field(default=None, description="Clients stay with their target; null: they do not.")
