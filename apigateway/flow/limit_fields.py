"""How limits stand, told in the fields of an answer.

RateLimit and RateLimit-Policy are those of draft-ietf-httpapi-ratelimit-headers-11 (lists of strings with parameters,
RFC 9651): q units in w seconds; r left, and no more than that for t seconds. No partition key (pk) is sent: it would
be made of who the caller is.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from math import ceil, inf

from apigateway.ports.interfaces import Standing
from apigateway.wire.headers import Headers


def whole_seconds(exact: float) -> int:
    """Whole seconds, rounded up, but not for what is only noise of the clock's last digits."""
    return ceil(round(exact, 3))


def policy_item(name: str, limit: int, seconds: int | None) -> bytes:
    """One item of RateLimit-Policy; seconds: of the window, None where it has no end."""
    item = b'"%s";q=%d' % (name.encode(), limit)
    return item if seconds is None else item + b";w=%d" % seconds


class LimitFields:
    """What is always the same of a step's fields: the policies, the names of the rules, and their limits."""

    def __init__(self, rules: Iterable[tuple[str, int, int | None]], *, draft: bool, legacy: bool) -> None:
        """rules: name, limit and seconds of the window of each, in the order of standings."""
        given = tuple(rules)
        self._policy = (b"ratelimit-policy", b", ".join(policy_item(*rule) for rule in given))
        self._names = tuple(b'"%s"' % name.encode() for name, _, _ in given)
        self._limits = tuple(limit for _, limit, _ in given)
        self._draft, self._legacy = draft, legacy

    def tell(self, headers: Headers, standings: Sequence[Standing]) -> None:
        """Add the fields."""
        if self._draft:
            lines, names = headers.lines, self._names
            # Added, not set: the fields are lists, and another step may have limits of its own.
            lines.append(self._policy)
            # One rule, as most steps have, is not worth a list.
            told = _item(names[0], standings[0]) if len(names) == 1 else b", ".join(map(_item, names, standings))
            lines.append((b"ratelimit", told))
        if self._legacy:
            least, limit = min(zip(standings, self._limits, strict=True), key=lambda pair: pair[0].remaining)
            headers.set(b"x-ratelimit-limit", b"%d" % limit)
            headers.set(b"x-ratelimit-remaining", b"%d" % least.remaining)
            if least.reset_after != inf:
                headers.set(b"x-ratelimit-reset", b"%d" % whole_seconds(least.reset_after))


def _item(name: bytes, standing: Standing) -> bytes:
    remaining, reset_after, retry_after = standing
    # Of a rule that refused, t ends when the request could pass: Retry-After may not end before it (draft, section 6).
    seconds = retry_after or reset_after
    if seconds == inf:
        return b"%b;r=%d" % (name, remaining)
    return b"%b;r=%d;t=%d" % (name, remaining, ceil(round(seconds, 3)))
