"""Durations, sizes and near names."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta

import pytest
from hypothesis import given
from hypothesis import strategies as st

from apigateway.text import (
    LARGEST_SIZE,
    LONGEST_DURATION,
    format_duration,
    format_size,
    nearest,
    parse_date,
    parse_duration,
    parse_size,
)


@pytest.mark.parametrize(
    ("text", "seconds"),
    [
        ("250ms", 0.25),
        ("30s", 30.0),
        ("1m", 60.0),
        ("2h", 7200.0),
        ("7d", 604800.0),
        ("1.5s", 1.5),
        ("0s", 0.0),
        ("25ms", 0.025),
    ],
)
def test_a_duration_is_read(text: str, seconds: float) -> None:
    assert parse_duration(text) == seconds


@pytest.mark.parametrize(
    ("text", "octets"),
    [("512B", 512), ("64KiB", 65536), ("1MB", 1_000_000), ("3GiB", 3 << 30), ("0B", 0), ("2kB", 2000)],
)
def test_a_size_is_read(text: str, octets: int) -> None:
    assert parse_size(text) == octets


@pytest.mark.parametrize("value", [30, 30.0, "30", "0.5"])
def test_a_bare_duration_is_asked_for_its_unit(value: object) -> None:
    with pytest.raises(ValueError, match=rf'needs its unit: write "{value}s"'):
        parse_duration(value)


def test_a_bare_size_is_asked_for_its_unit() -> None:
    with pytest.raises(ValueError, match='needs its unit: write "4096KiB"'):
        parse_size(4096)


@pytest.mark.parametrize(
    "value",
    [
        "",
        "s",
        "-1s",
        "+1s",
        "1e3s",
        "1 minute",
        "30 s",
        "1m30s",
        "٣s",
        "1s\n",
        "infs",
        True,
        None,
        ["1s"],
        "99999999d",
    ],
)
def test_what_is_no_duration_is_refused(value: object) -> None:
    with pytest.raises(ValueError, match="a duration is"):
        parse_duration(value)


@pytest.mark.parametrize(
    "value", ["", "KiB", "-1B", "1.5MiB", "1K", "1kb", "1KIB", "٣B", "1B\n", True, None, "99999999999GiB"]
)
def test_what_is_no_size_is_refused(value: object) -> None:
    with pytest.raises(ValueError, match="a size is"):
        parse_size(value)


@pytest.mark.parametrize(
    ("seconds", "text"),
    [
        (0.0, "0s"),
        (0.025, "25ms"),
        (0.5, "500ms"),
        (90.0, "90s"),
        (120.0, "2m"),
        (604800.0, "7d"),
        (0.0001, "0.0001s"),
    ],
)
def test_a_duration_is_written(seconds: float, text: str) -> None:
    assert format_duration(seconds) == text


@pytest.mark.parametrize(
    ("octets", "text"),
    [
        (0, "0B"),
        (512, "512B"),
        (1024, "1KiB"),
        (1000, "1kB"),
        (1536, "1536B"),
        (10**6, "1MB"),
        (1 << 30, "1GiB"),
    ],
)
def test_a_size_is_written(octets: int, text: str) -> None:
    assert format_size(octets) == text


@given(st.floats(min_value=0, max_value=LONGEST_DURATION))
def test_a_written_duration_reads_the_same(seconds: float) -> None:
    assert parse_duration(format_duration(seconds)) == seconds


@given(st.integers(min_value=0, max_value=LARGEST_SIZE))
def test_a_written_size_reads_the_same(octets: int) -> None:
    assert parse_size(format_size(octets)) == octets


@given(st.text())
def test_a_reader_only_refuses_with_a_sentence(text: str) -> None:
    for parse in (parse_duration, parse_size):
        try:
            assert parse(text) >= 0
        except ValueError as refusal:
            assert "unit" in str(refusal) or "at most" in str(refusal) or "less than" in str(refusal)


@pytest.mark.parametrize("seconds", [-1.0, float("inf"), float("nan"), 1e300])
def test_what_is_no_duration_is_not_written(seconds: float) -> None:
    with pytest.raises(ValueError, match="no duration"):
        format_duration(seconds)


def test_what_is_no_size_is_not_written() -> None:
    with pytest.raises(ValueError, match="no size"):
        format_size(-1)


@pytest.mark.parametrize(
    ("name", "found"),
    [
        ("hedaers", "headers"),
        ("basePath", "base_path"),
        ("base-path", "base_path"),
        ("zzz", ""),
        ("", ""),
        ("Headers", "headers"),
    ],
)
def test_the_nearest_name(name: str, found: str) -> None:
    assert nearest(name, ["headers", "base_path", "hosts"]) == found


@pytest.mark.parametrize(
    ("text", "moment"),
    [
        ("2027-06-30T00:00:00Z", datetime(2027, 6, 30, tzinfo=UTC)),
        ("2027-06-30t12:30:00.5z", datetime(2027, 6, 30, 12, 30, 0, 500_000, tzinfo=UTC)),
        ("2027-06-30T02:00:00+02:00", datetime(2027, 6, 30, tzinfo=UTC)),
    ],
)
def test_a_date_is_read(text: str, moment: datetime) -> None:
    assert parse_date(text) == moment
    assert parse_date(text).utcoffset() is not None


def test_a_date_keeps_its_offset() -> None:
    assert parse_date("2027-06-30T02:00:00-03:00").utcoffset() == timedelta(hours=-3)


@pytest.mark.parametrize(
    "text",
    [
        "",
        "2027-06-30",
        "2027-06-30T00:00:00",
        "2027-06-30T00:00Z",
        "20270630T000000Z",
        "2027-02-30T00:00:00Z",
        "2027-06-30T25:00:00Z",
    ],
)
def test_what_is_no_date_is_refused(text: str) -> None:
    with pytest.raises(ValueError, match=r"RFC 3339|no such date"):
        parse_date(text)
