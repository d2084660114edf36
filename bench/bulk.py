"""A backend of large bodies, and one that breaks off.

python -m bench.bulk PORT PORT

By the last segment of the target: `down-N` answers with N octets, `reset-N` with half of N and a reset; anything else
reads what comes and answers that it did.
"""

from __future__ import annotations

import asyncio
import sys

import uvloop
from httptools import HttpRequestParser

from bench.job import response_octets

PIECE = bytes(256 * 1024)


class Bulk(asyncio.Protocol):
    """A connection."""

    transport: asyncio.Transport

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self.transport = transport  # type: ignore[assignment]
        self.writable = asyncio.Event()
        self.writable.set()
        self.tasks: set[asyncio.Task[None]] = set()
        self.parser = HttpRequestParser(self)

    def data_received(self, data: bytes) -> None:
        self.parser.feed_data(data)

    def on_url(self, target: bytes) -> None:
        self.what, _, self.count = target.partition(b"?")[0].rpartition(b"/")[2].partition(b"-")

    def on_message_complete(self) -> None:
        if self.what in (b"down", b"reset"):
            task = asyncio.ensure_future(self._send(int(self.count), broken=self.what == b"reset"))
            self.tasks.add(task)
            task.add_done_callback(self.tasks.discard)
        else:
            self.transport.write(response_octets())

    async def _send(self, count: int, broken: bool) -> None:
        self.transport.write(b"HTTP/1.1 200 OK\r\nContent-Type: text/plain\r\nContent-Length: %d\r\n\r\n" % count)
        left = count // 2 if broken else count
        while left:
            piece = PIECE if left >= len(PIECE) else bytes(left)
            self.transport.write(piece)
            left -= len(piece)
            await self.writable.wait()
        if broken:
            self.transport.abort()

    def pause_writing(self) -> None:
        self.writable.clear()

    def resume_writing(self) -> None:
        self.writable.set()

    def connection_lost(self, exc: Exception | None) -> None:
        for task in self.tasks:
            task.cancel()


async def serve() -> None:
    loop = asyncio.get_running_loop()
    for port in sys.argv[1:]:
        await loop.create_server(Bulk, "127.0.0.1", int(port))
    await asyncio.Event().wait()


if __name__ == "__main__":
    uvloop.run(serve())
