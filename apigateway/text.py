"""Durations, sizes, dates and names as people write them."""

from __future__ import annotations

import math
import re
from collections.abc import Iterable
from datetime import UTC, datetime
from decimal import Decimal
from difflib import get_close_matches

DURATION_UNITS = {
    "d": Decimal(86400),
    "h": Decimal(3600),
    "m": Decimal(60),
    "s": Decimal(1),
    "ms": Decimal("0.001"),
}
SIZE_UNITS = {"GiB": 1 << 30, "GB": 10**9, "MiB": 1 << 20, "MB": 10**6, "KiB": 1 << 10, "kB": 1000, "B": 1}

# A hundred years: what is longer is a slip of the pen, and timers take it.
LONGEST_DURATION = 36525 * 86400.0
LARGEST_SIZE = (1 << 63) - 1

_DURATION = re.compile(r"(?P<number>[0-9]{1,40}(?:\.[0-9]{1,400})?)(?P<unit>ms|s|m|h|d)")
_SIZE = re.compile(r"(?P<number>[0-9]{1,20})(?P<unit>B|kB|MB|GB|KiB|MiB|GiB)")
_DATE = re.compile(
    r"[0-9]{4}-[0-9]{2}-[0-9]{2}[Tt ][0-9:]{8}(\.[0-9]{1,6})?([Zz]|[-+][0-9]{2}:[0-9]{2})", re.ASCII
)
_NUMBER = re.compile(r"[0-9]+(\.[0-9]+)?")


def parse_duration(value: object) -> float:
    """Seconds of "250ms", "30s", "1m", "2h" or "7d".

    A bare number is refused, because nobody can tell seconds from milliseconds: in Python and in dumps of
    models, too, a duration is text (format_duration). Raises ValueError with a sentence for the reader.
    """
    match = _DURATION.fullmatch(value) if isinstance(value, str) else None
    if match is None:
        raise ValueError(_unit_wanted("duration", value, "s", "ms, s, m, h or d"))
    seconds = float(Decimal(match["number"]) * DURATION_UNITS[match["unit"]])
    if seconds > LONGEST_DURATION:
        raise ValueError("a duration is at most a hundred years")
    return seconds


def parse_size(value: object) -> int:
    """Octets of "512B", "64KiB" (1024 each) or "1MB" (1000 each).

    A bare number is refused, as for durations. Raises ValueError with a sentence for the reader.
    """
    match = _SIZE.fullmatch(value) if isinstance(value, str) else None
    if match is None:
        raise ValueError(_unit_wanted("size", value, "KiB", "B, kB, MB, GB, KiB, MiB or GiB"))
    octets = int(match["number"]) * SIZE_UNITS[match["unit"]]
    if octets > LARGEST_SIZE:
        raise ValueError("a size is less than 2^63 octets")
    return octets


def _unit_wanted(what: str, value: object, example: str, units: str) -> str:
    bare = value if isinstance(value, str) else str(value) if isinstance(value, int | float) else ""
    if not isinstance(value, bool) and _NUMBER.fullmatch(bare):
        return f'a {what} needs its unit: write "{bare}{example}" if that is what is meant; units are {units}'
    return f'a {what} is a number with its unit, as in "30{example}"; units are {units}'


def format_duration(seconds: float) -> str:
    """The shortest text that parse_duration reads as exactly this value.

    Whole numbers of the largest unit that fits ("90s", "25ms", "2h"); where no unit fits, decimal seconds.
    Raises ValueError for what is no duration (negative, not finite, past a hundred years).
    """
    if not (math.isfinite(seconds) and 0 <= seconds <= LONGEST_DURATION):
        raise ValueError(f"no duration: {seconds!r}")
    exact = Decimal(repr(float(seconds)))
    if not exact:
        return "0s"
    for unit, length in DURATION_UNITS.items():
        if exact % length == 0:
            return f"{int(exact / length)}{unit}"
    return f"{exact:f}s"


def format_size(octets: int) -> str:
    """The shortest text that parse_size reads as exactly this number of octets, in binary units where even.

    Raises ValueError for what is no size.
    """
    if not 0 <= octets <= LARGEST_SIZE:
        raise ValueError(f"no size: {octets!r}")
    whole = [f"{octets // length}{unit}" for unit, length in SIZE_UNITS.items() if octets % length == 0]
    return min(whole, key=len) if octets else "0B"


def parse_date(text: str) -> datetime:
    """The moment that an RFC 3339 date-time names, with its offset; ValueError for anything else.

    Leap seconds are refused, for datetime has none.
    """
    if not _DATE.fullmatch(text):
        raise ValueError('expected a date and time with its offset (RFC 3339), as in "2027-06-30T00:00:00Z"')
    try:
        date = datetime.fromisoformat(text.upper())
        date.astimezone(UTC)  # which the first and the last day there are may not have
        return date
    except (ValueError, OverflowError) as error:
        raise ValueError(f"no such date: {error}") from None


def nearest(name: str, known: Iterable[str]) -> str:
    """The known name that was probably meant, or "" when none is near.

    Case and the choice between "-" and "_" do not count.
    """
    by_plain = {_plain(candidate): candidate for candidate in known}
    close = get_close_matches(_plain(name), by_plain, n=1, cutoff=0.6)
    return by_plain[close[0]] if close else ""


def _plain(name: str) -> str:
    return name.casefold().replace("-", "_")
