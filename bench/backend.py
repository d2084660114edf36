"""A backend for where nginx is missing: the same answer to every GET, on two ports.

python -m bench.backend PORT PORT
"""

from __future__ import annotations

import asyncio
import sys

import uvloop

from bench.job import response_octets


class Backend(asyncio.Protocol):
    """Counts the ends of heads, and answers each; a request of the job has no body."""

    answer = response_octets()

    def __init__(self) -> None:
        self.tail = b""

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self.transport = transport

    def data_received(self, data: bytes) -> None:
        data = self.tail + data
        heads = data.count(b"\r\n\r\n")
        self.tail = data[data.rfind(b"\r\n\r\n") + 4 :] if heads else data
        if heads:
            self.transport.write(self.answer * heads)  # type: ignore[attr-defined]


async def serve() -> None:
    loop = asyncio.get_running_loop()
    for port in sys.argv[1:]:
        await loop.create_server(Backend, "127.0.0.1", int(port))
    await asyncio.Event().wait()


if __name__ == "__main__":
    uvloop.run(serve())
