"""The origin behind the gateway that is probed: what a service of some care answers, and what it was asked."""

from __future__ import annotations

from toolkit.origin import Asked

# An origin that breaks RFC 9110 8.6 in this: the gateway is not to pass it on.
_NO_CONTENT = b"HTTP/1.1 204 No Content\r\nAllow: GET, HEAD, POST, OPTIONS\r\nContent-Length: 0\r\n\r\n"
_FIELDS = (
    "Date: Mon, 02 Nov 2026 09:00:00 GMT", "Content-Type: text/plain", 'ETag: "v1"',
    "Last-Modified: Mon, 01 Jan 2024 00:00:00 GMT",
)


class ProbedOrigin:
    """complete: the requests that came whole."""

    def __init__(self) -> None:
        self.complete: list[Asked] = []

    async def script(self, asked: Asked) -> None:
        """Take a request; echo, tell cookies, or answer conditionally."""
        await asked.read()
        self.complete.append(asked)
        if asked.method == "OPTIONS":
            asked.send(_NO_CONTENT)
        elif asked.method == "HEAD":
            asked.send(b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\n")
        elif _unchanged(asked):
            asked.send(b'HTTP/1.1 304 Not Modified\r\nETag: "v1"\r\n\r\n')
        else:
            asked.answer(200, _body(asked), *_FIELDS)


def _body(asked: Asked) -> bytes:
    if asked.target == "/echo":
        return asked.raw + asked.body
    if asked.target == "/cookie":
        pairs = [pair.strip() for line in asked.all("cookie") for pair in line.split(";")]
        return "\n".join(pairs).encode("latin-1")
    return asked.body or asked.target.encode()


def _unchanged(asked: Asked) -> bool:
    """RFC 9110 13.1.2, 13.1.3: If-None-Match goes before If-Modified-Since."""
    tags = asked.get("if-none-match")
    if tags is not None:
        return tags == "*" or '"v1"' in tags
    return asked.get("if-modified-since") == "Mon, 01 Jan 2024 00:00:00 GMT"
