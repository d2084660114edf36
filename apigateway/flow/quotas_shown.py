"""What operators may ask of a step that keeps quotas."""

from __future__ import annotations

from collections.abc import Awaitable
from datetime import datetime, tzinfo

from zope.interface import Interface

from apigateway.ports.interfaces import Facts, Usage


class IKeepsQuotas(Interface):
    """A policy whose counters are shown, and may be reset, by the management API.

    A key is "RULE/WHOSE" as the policy names its counters. Facts are ready for JSON. StoreUnavailable where the store
    does not answer.
    """

    def rules() -> list[Facts]:
        """The rules: name, limit, per, by, tier."""

    def usage(key: str, most: int) -> Awaitable[list[Facts]]:
        """One counter; with "" those that are in use, at most so many. LookupError where no rule has such a key."""

    def reset(key: str) -> Awaitable[bool]:
        """Forget what was used under a key; tells whether there was anything. LookupError as for `usage`."""


def usage_facts(usage: Usage, key: str, rule: str, limit: int, zone: tzinfo) -> Facts:
    """What is shown of a counter; dates as the clock on the wall of the zone says them, null where it never ends."""
    begins, ends = (None, None) if usage.ends is None else (usage.begins, usage.ends)
    return {
        "key": key, "rule": rule, "limit": limit, "used": usage.used, "remaining": max(0, limit - usage.used),
        "begins": _date(begins, zone), "ends": _date(ends, zone),
    }


def _date(wall: float | None, zone: tzinfo) -> str | None:
    return None if wall is None else datetime.fromtimestamp(wall, zone).isoformat()
