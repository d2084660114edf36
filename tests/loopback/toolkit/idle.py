"""Many connections that do nothing, and clients that are slow on purpose."""

from __future__ import annotations

import asyncio
import resource
import socket
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager, suppress
from itertools import count
from threading import Thread

from toolkit.load import REQUEST

PATIENCE = 30.0
_BATCH = 100


@contextmanager
def descriptors(wanted: int) -> Iterator[int]:
    """Raise the limit of open files for this process and those that it begins; how many there may be."""
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    allowed = wanted if hard == resource.RLIM_INFINITY else min(wanted, hard)
    if allowed > soft:
        resource.setrlimit(resource.RLIMIT_NOFILE, (allowed, hard))
    try:
        yield max(allowed, soft)
    finally:
        resource.setrlimit(resource.RLIMIT_NOFILE, (soft, hard))


class IdleConnections:
    """Connections that have asked once, had their answer, and are kept."""

    def __init__(self, address: tuple[str, int], number: int) -> None:
        self._held = ExitStack()
        self._sockets: list[socket.socket] = []
        # A hundred at a time, for a queue of connections may be as short as that.
        while len(self._sockets) < number:
            batch = [
                self._held.enter_context(socket.create_connection(address, PATIENCE))
                for _ in range(min(_BATCH, number - len(self._sockets)))
            ]
            self._sockets += batch
            _ask(batch)

    def ask(self) -> None:
        """Ask on each of them once more; fails where one is gone."""
        for begin in range(0, len(self._sockets), _BATCH):
            _ask(self._sockets[begin : begin + _BATCH])

    def close(self) -> None:
        self._held.close()


def _ask(connections: list[socket.socket]) -> None:
    for connection in connections:
        connection.sendall(REQUEST)
    for connection in connections:
        answer = b""
        while b"\r\n\r\n" not in answer:
            more = connection.recv(4096)
            assert more, f"closed after {answer!r}"
            answer += more
        assert answer.startswith(b"HTTP/1.1 200 "), answer


class SlowClients:
    """Hostile ones, in a thread of their own: heads that never end, bodies by the octet, answers that nobody reads,
    and silence. One that is thrown out comes again. came: connections so far."""

    def __init__(self, address: tuple[str, int], number: int) -> None:
        self.came = 0
        self._address = address
        self._number = number
        self._over: asyncio.Event | None = None
        self._loop: asyncio.AbstractEventLoop | None = None
        self._thread = Thread(target=lambda: asyncio.run(self._run()), daemon=True)
        self._thread.start()

    def close(self) -> None:
        """End all of them."""
        if self._loop is not None and self._over is not None:
            self._loop.call_soon_threadsafe(self._over.set)
        self._thread.join(PATIENCE)
        assert not self._thread.is_alive()

    async def _run(self) -> None:
        self._over = asyncio.Event()
        self._loop = asyncio.get_running_loop()
        slow = [asyncio.create_task(self._client(number)) for number in range(self._number)]
        await self._over.wait()
        for one in slow:
            one.cancel()
        await asyncio.gather(*slow, return_exceptions=True)

    async def _client(self, number: int) -> None:
        begins, tears, reads = _WAYS[number % len(_WAYS)]
        while True:
            reader, writer = await asyncio.open_connection(*self._address, limit=1024)
            self.came += 1
            try:
                with suppress(OSError):
                    await _be_slow(reader, writer, begins, tears, reads)
            finally:
                writer.transport.abort()


async def _be_slow(
    reader: asyncio.StreamReader, writer: asyncio.StreamWriter, begins: bytes, tears: bytes, reads: bool
) -> None:
    """begins: sent at once; tears: sent octet by octet, again and again; reads: a little of the answer each time."""
    writer.write(begins)
    for at in count():
        if tears:
            writer.write(tears[at % len(tears) :][:1])
            await writer.drain()
        if reads and not await reader.read(64):
            return
        if writer.is_closing() or (not reads and reader.at_eof()):
            return
        await asyncio.sleep(0.05)


_HEAD = b" /a HTTP/1.1\r\nHost: gw.test\r\n"
_WAYS = (
    (b"GET" + _HEAD, b"X-A: b\r\n", False),
    (b"POST" + _HEAD + b"Content-Length: 1000000\r\n\r\n", b"x", False),
    (b"POST" + _HEAD + b"Transfer-Encoding: chunked\r\n\r\n", b"1\r\nx\r\n", False),
    (b"GET /large HTTP/1.1\r\nHost: gw.test\r\n\r\n", b"", True),
    (b"GET /large HTTP/1.1\r\nHost: gw.test\r\n\r\n" * 4, b"", False),
    (b"", b"", False),
)
