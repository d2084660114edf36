"""One connection of a test: what came, waits for more that end, and writes that wait for the reader."""

from __future__ import annotations

import asyncio
import socket
import struct
from typing import Any, cast

from twisted.internet.defer import Deferred
from twisted.internet.defer import TimeoutError as DeferredTimeout

from toolkit.waiting import PATIENCE, reactor

# Of everything that came, so much is remembered as it came.
RECORD = 256 * 1024
# What the kernel may hold for a test's end of a connection: it grows to many MiB else, and nobody seems to be slow.
KERNEL_BUFFER = 128 * 1024
# More than what the kernel may hold for the gateway's ends on one way through it: where the limits are large (tcp_rmem,
# tcp_wmem), 32 MiB of what is received and 4 of what is sent; how soon it does is another matter in each run.
TOO_MUCH = 96 << 20
# A peer that takes nothing for so many seconds is full.
STILL = 0.2


class Closed(Exception):
    """The connection ended while something was waited for."""


class Stream(asyncio.Protocol):
    """A connection seen as a stream to read from, with a limit of time on every wait."""

    def __init__(self) -> None:
        self.transport: asyncio.Transport = cast(asyncio.Transport, None)
        self.record = bytearray()
        self.size = 0
        self.closed = self.ended = False
        self.reason: Exception | None = None
        self.unread = bytearray()
        self._news: list[Deferred[None]] = []
        self._room: list[Deferred[None]] = []
        self._full = False

    # ---- told by the loop

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self.transport = cast(asyncio.Transport, transport)
        self.transport.set_write_buffer_limits(64 * 1024)
        connection: Any = self.transport.get_extra_info("socket")
        for buffer in (socket.SO_RCVBUF, socket.SO_SNDBUF):
            connection.setsockopt(socket.SOL_SOCKET, buffer, KERNEL_BUFFER)

    def data_received(self, data: bytes) -> None:
        self.size += len(data)
        if len(self.record) < RECORD:
            self.record += data[: RECORD - len(self.record)]
        self.unread += data
        self._wake()

    def eof_received(self) -> bool | None:
        self.ended = True
        self._wake()
        # A TLS connection cannot stay half open.
        return self.transport.get_extra_info("ssl_object") is None

    def connection_lost(self, exc: Exception | None) -> None:
        self.closed = self.ended = True
        self.reason = exc
        self._wake()
        self.resume_writing()

    def pause_writing(self) -> None:
        self._full = True

    def resume_writing(self) -> None:
        self._full = False
        waiting, self._room = self._room, []
        for one in waiting:
            one.callback(None)

    def _wake(self) -> None:
        waiting, self._news = self._news, []
        for one in waiting:
            one.callback(None)

    # ---- reading

    async def news(self, within: float = PATIENCE) -> None:
        """Wait until something happens."""
        waiting: Deferred[None] = Deferred(lambda it: self._news.remove(it) if it in self._news else None)
        self._news.append(waiting)
        try:
            await waiting.addTimeout(within, reactor)
        except DeferredTimeout:
            raise TimeoutError(f"nothing for {within:g} s after {bytes(self.record[-200:])!r}") from None

    async def more(self, within: float = PATIENCE) -> None:
        """Wait for more octets; Closed where there are none to come."""
        before = len(self.unread)
        while len(self.unread) == before:
            if self.ended:
                raise Closed(f"after {self.size} octets: {bytes(self.record[-200:])!r}")
            await self.news(within)

    async def exactly(self, count: int, within: float = PATIENCE) -> bytes:
        """The next `count` octets."""
        while len(self.unread) < count:
            await self.more(within)
        return self._cut(count)

    async def past(self, mark: bytes, within: float = PATIENCE) -> bytes:
        """Everything up to and with a mark."""
        while mark not in self.unread:
            await self.more(within)
        return self._cut(self.unread.index(mark) + len(mark))

    async def some(self, within: float = PATIENCE, most: int = 1 << 30) -> bytes:
        """What is there, at least one octet; b"" at the end."""
        while not self.unread and not self.ended:
            await self.news(within)
        return self._cut(min(most, len(self.unread)))

    async def rest(self, within: float = PATIENCE) -> bytes:
        """All that comes until the peer ends."""
        while not self.ended:
            await self.news(within)
        return self._cut(len(self.unread))

    async def gone(self, within: float = PATIENCE) -> None:
        """Wait until the peer has ended its side, or the connection."""
        while not self.ended:
            await self.news(within)

    def _cut(self, count: int) -> bytes:
        octets = bytes(self.unread[:count])
        del self.unread[:count]
        return octets

    def pause(self) -> None:
        """Read nothing for now, so that the peer has to wait."""
        self.transport.pause_reading()

    def resume(self) -> None:
        """Read on."""
        self.transport.resume_reading()

    # ---- writing

    def send(self, data: bytes) -> None:
        """Write, whether or not the peer reads; nothing where it is gone."""
        if not self.closed:
            self.transport.write(data)

    async def send_slowly(self, data: bytes, within: float = PATIENCE) -> None:
        """Write, and wait until the peer has taken most of it."""
        self.send(data)
        if self._full and not self.closed:
            waiting: Deferred[None] = Deferred()
            self._room.append(waiting)
            await waiting.addTimeout(within, reactor)

    async def fill(self, piece: bytes) -> int:
        """Write until the peer takes no more: how many octets were written."""
        sent = 0
        while sent < TOO_MUCH:
            sent += len(piece)
            try:
                await self.send_slowly(piece, within=STILL)
            except DeferredTimeout:
                return sent
        raise AssertionError(f"{sent} octets, and there is room for more")

    @property
    def stuck(self) -> bool:
        """The peer does not take what was written."""
        return self._full

    def close(self) -> None:
        """Flush and close."""
        if self.transport is not None and not self.closed:
            self.transport.close()

    def reset(self) -> None:
        """Close with a RST, as a process does that dies."""
        connection: Any = self.transport.get_extra_info("socket")
        connection.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
        self.transport.abort()
