"""Who may call the management API, and with how much."""

from __future__ import annotations

import hashlib
import hmac
from collections.abc import Sequence
from typing import Any

from twisted.web.resource import IResource, Resource

from apigateway.config.model import ManagementToken
from apigateway.manager.problems import Refused, problem_answer

LARGEST_BODY = 64 * 1024


class Guard(Resource):
    """Stands before a resource: all but the paths in `open_paths` takes a bearer token (RFC 6750 2.1).

    Without a token configured everything else is refused (403). No answer is to be stored by a cache.
    """

    isLeaf = True

    def __init__(self, inner: IResource, tokens: Sequence[ManagementToken], open_paths: frozenset[bytes]) -> None:
        super().__init__()  # type: ignore[no-untyped-call]
        self._inner: Any = inner
        self._hashes = [token.sha256.encode("ascii") for token in tokens]
        self._open_paths = open_paths

    def render(self, request: Any) -> Any:
        request.setHeader(b"cache-control", b"no-store")
        try:
            self._check(request)
        except Refused as refused:
            return problem_answer(request, refused)
        return self._inner.render(request)

    def _check(self, request: Any) -> None:
        if request.path not in self._open_paths:
            self._check_token(request)
        size = request.content.seek(0, 2)
        request.content.seek(0)
        if size > LARGEST_BODY:
            raise Refused(413, f"a body here has at most {LARGEST_BODY} octets")

    def _check_token(self, request: Any) -> None:
        if not self._hashes:
            raise Refused(403, "no management token is configured: management.tokens is empty")
        scheme, _, token = (request.getHeader(b"authorization") or b"").strip().partition(b" ")
        if scheme.lower() != b"bearer" or not token:
            # RFC 6750 3.1: no error code where no token was shown.
            request.setHeader(b"www-authenticate", b'Bearer realm="apigateway"')
            raise Refused(401, "this takes a management token: Authorization: Bearer TOKEN")
        shown = hashlib.sha256(token.strip()).hexdigest().encode("ascii")
        # All of them, whichever fits, so that time tells nothing.
        if not sum(hmac.compare_digest(shown, known) for known in self._hashes):
            request.setHeader(b"www-authenticate", b'Bearer realm="apigateway", error="invalid_token"')
            raise Refused(401, "this management token is not known")
