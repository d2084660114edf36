"""Windows of a calendar, over every way in which clocks are set."""

from __future__ import annotations

from datetime import datetime
from itertools import pairwise

import pytest

from apigateway.flow.calendar_windows import CalendarWindows, zone_named


def at(text: str) -> float:
    """Wall seconds of an ISO 8601 date."""
    return datetime.fromisoformat(text).timestamp()


def window(per: str, zone: str, wall: float) -> tuple[str, str]:
    """Begin and end, as the clock there shows them."""
    windows = CalendarWindows(per, zone_named(zone))
    assert windows.move_to(wall)
    before, begins, ends, after = windows.edges
    assert before < begins <= wall < ends < after
    return tuple(datetime.fromtimestamp(edge, zone_named(zone)).isoformat() for edge in (begins, ends))


@pytest.mark.parametrize(
    ("per", "zone", "now", "begins", "ends"),
    [
        ("hour", "UTC", "2026-11-26T03:59:59.999+00:00", "2026-11-26T03:00:00+00:00", "2026-11-26T04:00:00+00:00"),
        ("hour", "UTC", "2026-11-26T04:00:00+00:00", "2026-11-26T04:00:00+00:00", "2026-11-26T05:00:00+00:00"),
        ("hour", "Asia/Kathmandu", "2026-11-26T03:00:00+00:00",
         "2026-11-26T08:00:00+05:45", "2026-11-26T09:00:00+05:45"),
        ("day", "Europe/Berlin", "2026-11-25T23:30:00+00:00",
         "2026-11-26T00:00:00+01:00", "2026-11-27T00:00:00+01:00"),
        # A week that began last year, and a month that ends with it.
        ("week", "UTC", "2027-01-02T12:00:00+00:00", "2026-12-28T00:00:00+00:00", "2027-01-04T00:00:00+00:00"),
        ("week", "UTC", "2026-11-30T00:00:00+00:00", "2026-11-30T00:00:00+00:00", "2026-12-07T00:00:00+00:00"),
        ("month", "UTC", "2026-12-31T23:59:59+00:00", "2026-12-01T00:00:00+00:00", "2027-01-01T00:00:00+00:00"),
        ("month", "Pacific/Auckland", "2028-02-29T12:00:00+00:00",
         "2028-03-01T00:00:00+13:00", "2028-04-01T00:00:00+13:00"),
        # The clock is set forward and back at night: 23 and 25 hours, and a month an hour short.
        ("day", "Europe/Berlin", "2026-03-29T12:00:00+00:00",
         "2026-03-29T00:00:00+01:00", "2026-03-30T00:00:00+02:00"),
        ("day", "Europe/Berlin", "2026-10-25T12:00:00+00:00",
         "2026-10-25T00:00:00+02:00", "2026-10-26T00:00:00+01:00"),
        ("month", "Europe/Berlin", "2026-03-29T12:00:00+00:00",
         "2026-03-01T00:00:00+01:00", "2026-04-01T00:00:00+02:00"),
        # There is no 00:00 on that day, and two of them on the next one.
        ("day", "America/Sao_Paulo", "2018-11-04T12:00:00+00:00",
         "2018-11-04T01:00:00-02:00", "2018-11-05T00:00:00-02:00"),
        ("day", "America/Havana", "2026-11-01T12:00:00+00:00",
         "2026-11-01T00:00:00-04:00", "2026-11-02T00:00:00-05:00"),
        # Set back over midnight: the day before is shown again, and is over all the same.
        ("day", "America/St_Johns", "2006-10-29T03:00:00+00:00",
         "2006-10-29T00:00:00-02:30", "2006-10-30T00:00:00-03:30"),
        # A day that was left out.
        ("day", "Pacific/Apia", "2011-12-30T11:00:00+00:00",
         "2011-12-31T00:00:00+14:00", "2012-01-01T00:00:00+14:00"),
    ],
)
def test_a_window(per, zone, now, begins, ends):
    assert window(per, zone, at(now)) == (begins, ends)


@pytest.mark.parametrize("zone", ["Europe/Berlin", "America/Havana", "America/St_Johns", "Pacific/Apia", "Asia/Gaza"])
@pytest.mark.parametrize("per", ["day", "week", "month"])
def test_windows_follow_each_other_without_a_gap(per, zone):
    windows = CalendarWindows(per, zone_named(zone))
    wall, end = at("2011-10-01T00:00:00+00:00"), at("2012-04-30T00:00:00+00:00")
    found = []
    while wall < end:
        windows.move_to(wall)
        found.append(windows.edges)
        wall = windows.edges[2]
    for one, following in pairwise(found):
        assert one[1:] == following[:3]


def test_a_window_is_worked_out_once():
    windows = CalendarWindows("day", zone_named("UTC"))
    assert windows.move_to(at("2026-11-26T00:00:00+00:00"))
    edges = windows.edges
    assert not windows.move_to(at("2026-11-26T23:59:59+00:00"))
    assert windows.edges is edges
    assert windows.seconds == 86400
    assert windows.move_to(at("2026-11-27T00:00:00+00:00"))
    # A clock that was set back.
    assert windows.move_to(at("2026-11-26T00:00:00+00:00"))
    assert windows.edges == edges


def test_what_is_never_renewed_has_no_edges():
    windows = CalendarWindows("never", zone_named("UTC"))
    assert not windows.move_to(0.0)
    assert (windows.edges, windows.seconds) == ((), None)


@pytest.mark.parametrize(
    ("name", "why"),
    [
        ("Europe/Berlon", '"Europe/Berlin" is probably meant'),
        ("Mars/Olympus", "no time zone"),
        ("Europe", "no time zone"),
        ("../../etc/passwd", "no time zone"),
        ("/etc/localtime", "no time zone"),
        ("", "no time zone"),
        ("a\0b", "no time zone"),
        ("x" * 5000, "no time zone"),
    ],
)
def test_what_is_no_zone(name, why):
    with pytest.raises(ValueError) as caught:
        zone_named(name)
    assert why in str(caught.value)
