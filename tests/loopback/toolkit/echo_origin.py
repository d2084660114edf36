"""An origin in a process of its own, made to be quick: python echo_origin.py prints its port, and serves until killed.

It answers with what came in X-In; a target that begins with /large gets a mebibyte more.
"""

from __future__ import annotations

import asyncio
import re
from typing import cast

import uvloop

LARGE = b"." * (1 << 20)
_MARK = re.compile(rb"^x-in: *([^\r\n]*)", re.IGNORECASE | re.MULTILINE)
_LENGTH = re.compile(rb"^content-length: *([0-9]+)", re.IGNORECASE | re.MULTILINE)


class Echo(asyncio.Protocol):
    """One connection from a gateway; bodies of requests are read and forgotten."""

    def __init__(self) -> None:
        self._unread = bytearray()
        self._skip = 0

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self._transport = cast(asyncio.Transport, transport)

    def data_received(self, data: bytes) -> None:
        self._unread += data
        while self._unread:
            if self._skip:
                skipped = min(self._skip, len(self._unread))
                del self._unread[:skipped]
                self._skip -= skipped
                continue
            end = self._unread.find(b"\r\n\r\n")
            if end < 0:
                return
            head = bytes(self._unread[: end + 2])
            del self._unread[: end + 4]
            self._answer(head)

    def _answer(self, head: bytes) -> None:
        length, mark = _LENGTH.search(head), _MARK.search(head)
        self._skip = int(length[1]) if length else 0
        body = mark[1] if mark else b""
        if head.split(b" ", 2)[1].startswith(b"/large"):
            body += LARGE
        self._transport.write(b"HTTP/1.1 200 OK\r\nContent-Length: %d\r\n\r\n%b" % (len(body), body))


async def serve() -> None:
    server = await asyncio.get_running_loop().create_server(Echo, "127.0.0.1", 0, backlog=1024)
    print(server.sockets[0].getsockname()[1], flush=True)
    await server.serve_forever()


if __name__ == "__main__":
    uvloop.run(serve())
