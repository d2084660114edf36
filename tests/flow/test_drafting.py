"""What is worked out of an Api's settings for all of its plans."""

from __future__ import annotations

import pytest

from apigateway.config.model import Api
from apigateway.flow.drafting import version_fields

API = {"name": "a", "routes": [{"name": "r", "match": {"path": "/"}}]}


@pytest.mark.parametrize(
    ("settings", "lines"),
    [
        ({}, ()),
        ({"deprecated": "2026-01-01T00:00:00Z"}, ((b"deprecation", b"@1767225600"),)),
        # RFC 3339 5.6: "t" and "z" may be small.
        ({"deprecated": "2026-01-01t01:00:00.25+01:00"}, ((b"deprecation", b"@1767225600"),)),
        ({"sunset": "2026-01-01t00:00:00z"}, ((b"sunset", b"Thu, 01 Jan 2026 00:00:00 GMT"),)),
        ({"sunset": "2026-01-01T00:30:00+01:00"}, ((b"sunset", b"Wed, 31 Dec 2025 23:30:00 GMT"),)),
    ],
)
def test_an_outdated_version_tells_when(settings: dict[str, str], lines: tuple[tuple[bytes, bytes], ...]) -> None:
    assert version_fields(Api.model_validate({**API, **settings})) == lines
