"""What a decision hook may return."""

from __future__ import annotations

from collections.abc import Awaitable, Iterable

from apigateway.wire.headers import Headers


class Reply:
    """An answer given by a policy instead of the upstream.

    headers: field lines without Content-Length; the writer frames the body.
    """

    __slots__ = ("body", "headers", "status")

    def __init__(self, status: int, headers: Iterable[tuple[bytes, bytes]] = (), body: bytes = b"") -> None:
        self.status = status
        self.headers = Headers()
        for name, value in headers:
            self.headers.add(name, value)
        self.body = body

    def __repr__(self) -> str:
        return f"Reply({self.status}, {self.headers.lines!r}, {len(self.body)} octets)"


# None: go on. An awaitable or Deferred ends in None or a Reply.
Verdict = Reply | None
Outcome = Verdict | Awaitable[Verdict]
