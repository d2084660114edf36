"""What operators may ask of a step that keeps quotas."""

from __future__ import annotations

from collections.abc import Awaitable
from typing import Any

from zope.interface import Interface

Facts = dict[str, Any]


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
