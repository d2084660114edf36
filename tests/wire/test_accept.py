"""Accept: which of the offers a client would rather have."""

from __future__ import annotations

import pytest

from apigateway.wire.accept import MOST_RANGES, media_ranges, preferred, weight_of

OFFERS = ("application/json", "application/xml", "text/html")


@pytest.mark.parametrize(
    ("accept", "offer"),
    [
        ([], "application/json"),
        ([b""], "application/json"),
        ([b"*/*"], "application/json"),
        ([b"application/xml"], "application/xml"),
        ([b"APPLICATION/XML ; Q=0.3"], "application/xml"),
        ([b"application/json;q=0.2, application/xml;q=0.9"], "application/xml"),
        ([b"application/json;q=0.2", b"application/xml;q=0.9"], "application/xml"),
        ([b"application/xml;q=0.8, */*;q=0.9"], "application/json"),
        ([b"text/*"], "text/html"),
        ([b"*/*, application/json;q=0"], "application/xml"),
        ([b"application/json;q=0.5, application/*"], "application/xml"),
        ([b"image/png"], None),
        ([b"application/json;q=0"], None),
        ([b"garbage, ;;, */json, /, text/html;q=x, application/xml"], "application/xml"),
        ([b"text/html;level=1;q=0.4, application/xml;q=0.3"], "text/html"),
        ([b"text/html,application/xhtml+xml,application/xml;q=0.9,*/*;q=0.8"], "text/html"),
        ([b"application/json;q=nan, application/xml;q=0.1"], "application/xml"),
        ([b"\xff/\xfe, text/html"], "text/html"),
    ],
)
def test_preferred(accept, offer):
    assert preferred(accept, OFFERS) == offer


def test_nothing_offered():
    assert preferred([b"*/*"], ()) is None
    assert preferred([], ()) is None


@pytest.mark.parametrize(
    ("qvalue", "weight"),
    [
        ("0", 0.0),
        ("1", 1.0),
        ("0.5", 0.5),
        ("1.000", 1.0),
        ("1.5", 1.0),
        ("0.5555", 0.0),
        ("-1", 0.0),
        ("", 0.0),
        ("0.", 0.0),
        ("1e3", 0.0),
        ("٣", 0.0),
    ],
)
def test_qvalues(qvalue, weight):
    ranges = media_ranges([f"text/plain;q={qvalue}".encode()])
    assert weight_of(ranges, "text/plain; charset=utf-8") == weight


def test_a_list_without_end_is_cut():
    assert len(media_ranges([b"text/plain," * 100_000])) == MOST_RANGES
