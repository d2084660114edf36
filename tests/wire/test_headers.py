"""Fields that are dropped in every spelling."""

from __future__ import annotations

from apigateway.wire.headers import Headers, folded


def test_a_dropped_name_goes_in_every_spelling() -> None:
    names = (b"x-a-b", b"x_a-b", b"x-a_b", b"x_a_b", b"x-a-bc", b"xa-b", b"x_kept")
    headers = Headers((name, b"1") for name in names)
    lines = headers.lines
    headers.drop(frozenset((folded(b"x-a_b"), b"x-gone")))
    assert [name for name, _ in headers] == [b"x-a-bc", b"xa-b", b"x_kept"]
    assert headers.lines is lines
