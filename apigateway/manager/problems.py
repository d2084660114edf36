"""Answers in JSON, and refusals as problem+json (RFC 9457). A request here is an IRequest of twisted.web."""

from __future__ import annotations

from http import HTTPStatus
from typing import Any

import orjson


class Refused(Exception):
    """A call that is answered with a problem. detail: one sentence for the caller; members: more of the problem."""

    def __init__(self, status: int, detail: str, **members: Any) -> None:
        super().__init__(detail)
        self.status = status
        self.detail = detail
        self.members = members


def json_answer(request: Any, value: Any, status: int = 200) -> bytes:
    """The body, with status and type set on the request."""
    return _answer(request, value, status, b"application/json")


def problem_answer(request: Any, refused: Refused) -> bytes:
    """The body, with status and type set on the request.

    "about:blank" is the type: the status says all there is to say of the kind (RFC 9457 4.2.1).
    """
    problem = {
        "type": "about:blank",
        "title": HTTPStatus(refused.status).phrase,
        "status": refused.status,
        "detail": refused.detail,
        **refused.members,
    }
    return _answer(request, problem, refused.status, b"application/problem+json")


def _answer(request: Any, value: Any, status: int, media_type: bytes) -> bytes:
    body = orjson.dumps(value, str, orjson.OPT_NON_STR_KEYS)
    request.setResponseCode(status)
    request.setHeader(b"content-type", media_type)
    return body
