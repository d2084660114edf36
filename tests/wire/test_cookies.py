"""Cookies read and taken out."""

from __future__ import annotations

import pytest

from apigateway.wire.cookies import cookie_values, remove_cookie
from apigateway.wire.headers import Headers


def cookies(*lines: bytes) -> Headers:
    return Headers([(b"a", b"b"), *((b"cookie", line) for line in lines)])


@pytest.mark.parametrize(
    ("lines", "values"),
    [
        ([b"sid=1; x=2"], ["1"]),
        ([b"x=2", b"y=3;sid=1 ; sid=2"], ["1", "2"]),
        ([b'sid="a b"'], ['"a b"']),
        ([b"sid=a=b"], ["a=b"]),
        ([b"sid="], [""]),
        ([b"sid", b"SID=1; xsid=2"], []),
        ([b"===;;;"], []),
        ([b"sid=\xff"], ["\xff"]),
        ([], []),
    ],
)
def test_values(lines: list[bytes], values: list[str]) -> None:
    assert cookie_values(cookies(*lines), "sid") == values


@pytest.mark.parametrize(
    ("lines", "rest"),
    [
        ([b"sid=1; x=2;  y=3"], [b"x=2;  y=3"]),
        ([b"x=2; sid=1; y=3"], [b"x=2; y=3"]),
        ([b"x=2; sid=1"], [b"x=2"]),
        ([b"sid=1", b"x=2"], [b"x=2"]),
        ([b"x=2; sid=1", b"sid=3; y=1"], [b"x=2", b"y=1"]),
    ],
)
def test_removed(lines: list[bytes], rest: list[bytes]) -> None:
    headers = cookies(*lines)
    assert remove_cookie(headers, "sid") is True
    assert headers == cookies(*rest)


def test_nothing_to_remove() -> None:
    headers = cookies(b"x=2 ; ;y")
    assert remove_cookie(headers, "sid") is False
    assert headers == cookies(b"x=2 ; ;y")
