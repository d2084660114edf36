"""Answers 503 while a service is down on purpose.

Without `windows` it is down for as long as the step is there; with them, between `from` and `to` of any
of them (RFC 3339, with an offset). Answers carry `Retry-After`: `retry_after`, or the time to the end of
the window, or five minutes. Clients on the `allow` list are let through, to try what the others cannot
reach yet.
"""

from __future__ import annotations

from math import ceil

from pydantic import AwareDatetime, Field, model_validator
from zope.interface import implementer

from apigateway.config.model import Duration, Settings
from apigateway.flow.exchange import Exchange
from apigateway.flow.faults import MAINTENANCE, Fault
from apigateway.flow.interfaces import IOnRequest
from apigateway.flow.kinds import Call, Example, kind
from apigateway.flow.outcome import Outcome
from apigateway.flow.services import Services
from apigateway.ports.interfaces import IClock
from apigateway.wire.ipset import IpSet

RETRY_AFTER = 300.0


class Window(Settings):
    """A time of maintenance."""

    begin: AwareDatetime = Field(alias="from", description="Its first moment, as in 2026-05-01T02:00:00Z.")
    end: AwareDatetime = Field(alias="to", description="The moment when service is back.")

    @model_validator(mode="after")
    def _ends_after_it_begins(self) -> Window:
        if self.end <= self.begin:
            raise ValueError("a window ends after it begins")
        return self


class Config(Settings):
    """When it is down, and what is said of it."""

    windows: tuple[Window, ...] = Field(default=(), description="When it is down; none: always.")
    retry_after: Duration | None = Field(default=None, description="What Retry-After says.")
    allow: tuple[str, ...] = Field(
        default=(), description="Addresses, networks and ranges that are let through."
    )
    message: str = Field(
        default="The service is down for maintenance.", description="What the client is told."
    )


@implementer(IOnRequest)
class Maintenance:
    """Answers 503 while a service is down on purpose."""

    def __init__(self, config: Config) -> None:
        self._windows = tuple((window.begin.timestamp(), window.end.timestamp()) for window in config.windows)
        self._retry_after = config.retry_after
        self._allow = IpSet(config.allow) if config.allow else None
        self._message = config.message
        self._clock: IClock | None = None

    def provision(self, services: Services) -> None:
        """Keep the clock."""
        self._clock = services.clock

    def close(self) -> None:
        """Nothing to let go of."""

    def on_request(self, exchange: Exchange) -> Outcome:
        """Refuse while it is down."""
        left = self._seconds_left()
        if left is None or (self._allow is not None and exchange.client in self._allow):
            return None
        seconds = max(1, ceil(left if self._retry_after is None else self._retry_after))
        raise Fault(MAINTENANCE, public=self._message, headers=((b"retry-after", b"%d" % seconds),))

    def _seconds_left(self) -> float | None:
        """Seconds until service is back; None where it is not down."""
        if not self._windows:
            return RETRY_AFTER
        now = 0.0 if self._clock is None else self._clock.wall()
        return max((end - now for begin, end in self._windows if begin <= now < end), default=None)


KIND = kind("maintenance", config=Config, policy=Maintenance)

EXAMPLES = (
    Example(
        "Down until further notice, but not for us",
        {"retry_after": "10m", "allow": ["198.51.100.0/24"]},
        (
            Call(status=503, sent=False, fields={"retry-after": "600"}, contains="maintenance"),
            Call(client="198.51.100.7", status=200),
        ),
    ),
    Example(
        "A window that is long over",
        {"windows": [{"from": "2001-01-01T02:00:00Z", "to": "2001-01-01T04:00:00Z"}]},
        (Call(status=200, sent=True),),
    ),
    Example(
        "A message of one's own",
        {"message": "Back after lunch."},
        (Call(status=503, sent=False, contains="Back after lunch.", fields={"retry-after": "300"}),),
    ),
)
