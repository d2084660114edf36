"""Forms."""

from __future__ import annotations

import pytest

from apigateway.body import Body, BodyError


@pytest.mark.parametrize(
    ("data", "fields"),
    [
        (b"", ()),
        (b"a=1&b=2&a=3", (("a", "1"), ("b", "2"), ("a", "3"))),
        (b"a+b=c+d&e=%C3%A9%26", (("a b", "c d"), ("e", "é&"))),
        (b"flag&empty=", (("flag", ""), ("empty", ""))),
        (b"a=1;b=2", (("a", "1;b=2"),)),
        (b"a=100%", (("a", "100%"),)),
        (b"a=b=c", (("a", "b=c"),)),
    ],
)
def test_fields(data: bytes, fields: tuple[tuple[str, str], ...]) -> None:
    assert Body(data, b"application/x-www-form-urlencoded").form == fields


@pytest.mark.parametrize(
    ("data", "about"), [(b"a=\xff", "UTF-8"), (b"a=%ff", "UTF-8"), (b"&".join([b"a=1"] * 1001), "1000 fields")]
)
def test_refused(data: bytes, about: str) -> None:
    with pytest.raises(BodyError, match=about):
        _ = Body(data).form
