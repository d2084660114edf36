"""A Body and its views."""

from __future__ import annotations

import pytest

from apigateway.body import Body, BodyError
from apigateway.body.error import MAX_PARSED


def test_views_are_made_once_and_shared() -> None:
    body = Body(b'{"a": 1}', b"application/json")
    assert body.json is body.json
    assert Body(b"<a/>").xml.tag == "a"


def test_new_data_drops_the_views() -> None:
    body = Body(b'{"a": 1}')
    assert body.json == {"a": 1}
    body.data = b"[2]"
    assert body.data == b"[2]"
    assert body.json == [2]


def test_a_failure_is_told_again() -> None:
    body = Body(b"{")
    told = []
    for _ in range(2):
        with pytest.raises(BodyError) as caught:
            _ = body.json
        told.append(str(caught.value))
    assert told == ["the body is not valid JSON"] * 2
    body.data = b"{}"
    assert body.json == {}


@pytest.mark.parametrize("view", ["json", "xml", "form"])
def test_a_large_body_is_not_looked_into(view: str) -> None:
    with pytest.raises(BodyError, match="more than 262144 octets"):
        getattr(Body(b" " * (MAX_PARSED + 1)), view)


def test_the_text_of_an_error_quotes_nothing() -> None:
    for view in ("json", "xml"):
        with pytest.raises(BodyError) as caught:
            getattr(Body(b"secret-in-the-body"), view)
        assert "secret" not in str(caught.value)


def test_media_type_and_charset() -> None:
    assert Body(b"").media_type is None
    body = Body("<a>é</a>".encode("latin-1"), b"text/xml; charset=ISO-8859-1")
    assert body.media_type is not None
    assert body.media_type.charset == "iso-8859-1"
    assert body.xml.text == "é"
    with pytest.raises(BodyError, match="UTF-8"):
        _ = Body(b"{}", b"application/json;charset=utf-16").json
