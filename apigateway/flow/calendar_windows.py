"""Windows of a calendar: hours, days, weeks and months as the clock on the wall of a time zone shows them."""

from __future__ import annotations

from datetime import date, datetime, time, timedelta
from math import floor
from typing import Annotated, Final, Literal
from zoneinfo import ZoneInfo, available_timezones

from pydantic import AfterValidator, Field

from apigateway.text import nearest

Per = Literal["hour", "day", "week", "month", "never"]

HOUR: Final = 3600
# What a window that is never renewed has for edges; see ports.interfaces.Quota.
NO_EDGES: Final[tuple[float, ...]] = ()


def zone_named(name: str) -> ZoneInfo:
    """A time zone of the IANA database. ValueError where there is none of this name."""
    try:
        return ZoneInfo(name)
    except (ValueError, LookupError, OSError):  # OSError: a folder of zones, as Europe
        close = nearest(name, available_timezones())
        meant = f'; "{close}" is probably meant' if close else ""
        raise ValueError(f'there is no time zone "{name}"{meant}') from None


def _checked(name: str) -> str:
    zone_named(name)
    return name


#: The name of a time zone, as a setting.
Zone = Annotated[str, Field(min_length=1, max_length=64), AfterValidator(_checked)]


class CalendarWindows:
    """The windows of one rule, in a zone. A window is worked out once, and asked for with every request.

    A day begins at 00:00 on the wall: where the clock is set forward or back it has 23 or 25 hours. Where it is set
    over midnight, the day begins with the first instant of that date. A week begins on Monday. Hours have 60 minutes,
    whatever is done to the clock.
    """

    __slots__ = ("_begins", "_ends", "_per", "_zone", "edges")

    def __init__(self, per: Per, zone: ZoneInfo) -> None:
        """edges: those of the window that was asked for last, with one window before and behind it, for a store whose
        clock is not quite ours; ready for ports.interfaces.Quota."""
        self._per: Per = per
        self._zone = zone
        self._begins = self._ends = 0.0
        self.edges = NO_EDGES

    @property
    def seconds(self) -> int | None:
        """How long the window is; None for one that is never renewed."""
        return None if self._per == "never" else round(self._ends - self._begins)

    def move_to(self, wall: float) -> bool:
        """Make `edges` those of the window that is at this time; tells whether that is another one than before."""
        if self._begins <= wall < self._ends or self._per == "never":
            return False
        begins, ends = self._hours(wall) if self._per == "hour" else self._days(wall, self._per)
        if self._per == "hour":
            self.edges = (begins - HOUR, begins, ends, ends + HOUR)
        else:
            self.edges = (self._days(begins - 1, self._per)[0], begins, ends, self._days(ends, self._per)[1])
        self._begins, self._ends = begins, ends
        return True

    def _hours(self, wall: float) -> tuple[float, float]:
        """Where the zone is apart from UTC by a part of an hour, its hours begin there."""
        offset = datetime.fromtimestamp(wall, self._zone).utcoffset() or timedelta()
        apart = offset.total_seconds() % HOUR
        begins = floor((wall + apart) / HOUR) * HOUR - apart
        return begins, begins + HOUR

    def _days(self, wall: float, per: str) -> tuple[float, float]:
        first = _first_day(datetime.fromtimestamp(wall, self._zone).date(), per)
        following = _following(first, per)
        # Set back over midnight, the clock shows a date again that is over.
        while self._midnight(following) <= wall:
            first, following = following, _following(following, per)
        return self._midnight(first), self._midnight(following)

    def _midnight(self, day: date) -> float:
        """The first of two where the clock is set back (fold 0); where 00:00 is left out, the instant in which it is
        (PEP 495: fold 0 counts on by what held before)."""
        return datetime.combine(day, time(), self._zone).timestamp()


def _first_day(day: date, per: str) -> date:
    if per == "day":
        return day
    return day - timedelta(days=day.weekday()) if per == "week" else day.replace(day=1)


def _following(day: date, per: str) -> date:
    if per == "month":
        return (day + timedelta(days=31)).replace(day=1)
    return day + timedelta(days=7 if per == "week" else 1)
