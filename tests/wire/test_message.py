"""What a request keeps from the upstream."""

from __future__ import annotations

import pytest

from apigateway.wire.headers import Headers
from apigateway.wire.message import Request


@pytest.mark.parametrize(("length", "withheld"), [(0, set()), (5, {b"x-a", b"x-b"}), (None, {b"x-a", b"x-b"})])
def test_what_is_withheld_goes_now_and_from_trailers_to_come(length: int | None, withheld: set[bytes]) -> None:
    request = Request(b"POST", b"/", Headers([(b"x_a", b"1"), (b"x-c", b"2"), (b"x-b", b"3")]), length=length)
    request.withhold(frozenset((b"x-a",)))
    request.withhold(frozenset((b"x-b",)))
    assert request.headers.lines == [(b"x-c", b"2")]
    assert request.withheld == withheld
    assert Request(b"GET", b"/", Headers()).withheld == frozenset()
