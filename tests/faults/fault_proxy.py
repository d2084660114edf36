"""A TCP proxy that fails as networks do: each direction by itself, and otherwise at any moment of a connection."""

from __future__ import annotations

import asyncio
import errno
import socket
import struct
from collections.abc import Coroutine
from contextlib import suppress
from dataclasses import dataclass
from typing import Any, Literal

from toolkit.stream import KERNEL_BUFFER
from toolkit.waiting import event_loop, on_loop

READ = 64 * 1024
# How often a direction that is held is looked at, and how often one with a rate passes something on, in seconds.
LOOK_EVERY = 0.002
STEP = 0.02
# With a backlog of 0 one connection waits to be accepted; of what comes after that no SYN is answered (Linux).
FILLERS = 3

Accepting = Literal["pass", "refuse", "close", "reset", "silence"]


@dataclass(slots=True)
class Way:
    """One direction of every connection; may be changed while connections run. Offsets count from the first octet of a
    connection.

    latency: seconds that each read is kept before it is passed on. rate: octets per second. slice: the most octets in
    one write; the reader gets a turn between two. held: nothing is read, so that in the end the sender has to wait.
    hole: octets are read and lost; the end of the connection waits until it is over. end_after: so many octets, then
    the end of this direction only. reset_after: so many, then a RST to both peers. corrupt_at: in the octet with this
    offset the bits of `flip` are turned.
    """

    latency: float = 0.0
    rate: float | None = None
    slice: int = READ
    held: bool = False
    hole: bool = False
    end_after: int | None = None
    reset_after: int | None = None
    corrupt_at: int | None = None
    flip: int = 0x80

    def most(self) -> int:
        """Octets of the next write."""
        return self.slice if self.rate is None else max(1, min(self.slice, int(self.rate * STEP)))


class _Reset(Exception):
    """The connection is to end with a RST."""


class Pump:
    """One direction of one connection. passed: octets so far; ended: its end was passed on."""

    def __init__(self, way: Way, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self._way, self._reader, self._writer = way, reader, writer
        self.passed = 0
        self.ended = False

    async def run(self) -> None:
        """Pass on until the sender ends; _Reset or OSError where the whole connection is over."""
        way = self._way
        while True:
            await self._released()
            data = await self._reader.read(READ)
            if not data:
                break
            if way.latency:
                await asyncio.sleep(way.latency)
            while data:
                await self._released()
                most = way.most()
                await self._pass(data[:most])
                data = data[most:]
        while way.held or way.hole:
            await asyncio.sleep(LOOK_EVERY)
        self._end()

    async def _released(self) -> None:
        while self._way.held:
            await asyncio.sleep(LOOK_EVERY)

    async def _pass(self, piece: bytes) -> None:
        way = self._way
        if way.hole or self.ended:
            return
        limits = [limit for limit in (way.end_after, way.reset_after) if limit is not None]
        piece = self._corrupted(piece[: max(0, min(limits) - self.passed)] if limits else piece)
        if piece:
            _still_there(self._writer)
            self._writer.write(piece)
            await self._writer.drain()
            self.passed += len(piece)
        if way.reset_after is not None and self.passed >= way.reset_after:
            raise _Reset
        if way.end_after is not None and self.passed >= way.end_after:
            self._end()
        await asyncio.sleep(0 if way.rate is None else len(piece) / way.rate)

    def _corrupted(self, piece: bytes) -> bytes:
        at = -1 if self._way.corrupt_at is None else self._way.corrupt_at - self.passed
        if not 0 <= at < len(piece):
            return piece
        return piece[:at] + bytes([piece[at] ^ self._way.flip]) + piece[at + 1 :]

    def _end(self) -> None:
        if not self.ended:
            self.ended = True
            with suppress(OSError):
                _still_there(self._writer)
                self._writer.write_eof()


class Link:
    """One connection through the proxy. up: from who connected; down: to it. Both None until the target was reached."""

    def __init__(self, near: socket.socket) -> None:
        self._near = near
        self._begun = False
        self._ends: list[tuple[socket.socket, asyncio.StreamWriter]] = []
        self.up: Pump | None = None
        self.down: Pump | None = None
        self.over = False
        self._task: asyncio.Task[None] | None = None

    def start(self, work: Coroutine[Any, Any, None]) -> None:
        """Run until it is over, whatever becomes of the peers."""
        self._task = event_loop().create_task(work)

    async def run(self, target: tuple[str, int], up: Way, down: Way) -> None:
        """Connect to the target and pass on; a target that cannot be reached resets."""
        self._begun = True
        try:
            near_reader, near = await self._streams(self._near)
            far_socket = socket.socket()
            far_socket.setblocking(False)
            try:
                await asyncio.get_running_loop().sock_connect(far_socket, target)
            except BaseException:
                far_socket.close()
                raise
            far_reader, far = await self._streams(far_socket)
            self.up, self.down = Pump(up, near_reader, far), Pump(down, far_reader, near)
            await _both(self.up.run(), self.down.run())
        except (_Reset, OSError):
            self._close(reset=True)
        finally:
            self._close(reset=False)

    async def _streams(self, connection: socket.socket) -> tuple[asyncio.StreamReader, asyncio.StreamWriter]:
        for buffer in (socket.SO_RCVBUF, socket.SO_SNDBUF):
            connection.setsockopt(socket.SOL_SOCKET, buffer, KERNEL_BUFFER)
        # Whole, whatever ends meanwhile: uvloop ends the process over a socket that is closed while it takes it over.
        opening = asyncio.ensure_future(asyncio.open_connection(sock=connection, limit=READ))
        try:
            reader, writer = await asyncio.shield(opening)
        except asyncio.CancelledError:
            _linger_not(connection)
            (await opening)[1].transport.abort()
            raise
        _still_there(writer)
        writer.transport.set_write_buffer_limits(0)  # drained means: given to the kernel
        self._ends.append((connection, writer))
        return reader, writer

    def _close(self, *, reset: bool) -> None:
        if self.over:
            return
        self.over = True
        if not self._begun:
            if reset:
                _linger_not(self._near)
            self._near.close()
        for connection, writer in self._ends:
            if reset:
                _linger_not(connection)
                writer.transport.abort()
            else:
                writer.close()

    def reset(self) -> None:
        """End both sides with a RST, now."""
        self._close(reset=True)
        self.cancel()

    def cancel(self) -> None:
        if self._task is not None:
            self._task.cancel()

    async def gone(self) -> None:
        """Wait until nothing runs any more."""
        if self._task is not None:
            await asyncio.wait([self._task])
            if not self._task.cancelled():
                self._task.result()


def _still_there(writer: asyncio.StreamWriter) -> None:
    """uvloop raises a RuntimeError for what is done to a connection that has ended; here it is as a reset is."""
    if writer.is_closing():
        raise ConnectionResetError("the peer has left")


async def _both(*work: Coroutine[Any, Any, None]) -> None:
    """Side by side; the first that fails ends the other."""
    tasks = [asyncio.ensure_future(one) for one in work]
    try:
        await asyncio.gather(*tasks)
    finally:
        for task in tasks:
            task.cancel()
        await asyncio.wait(tasks)


def _linger_not(connection: socket.socket) -> None:
    with suppress(OSError):  # it may be closed
        connection.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))


class FaultProxy:
    """Listens on a port of the loopback, and passes on to a target. It stands for an Origin where a configuration wants
    a `url` and a `name`.

    up: what goes to the target; down: what comes from it. links: connections that were passed on, the newest last.
    accepted: connections that were taken, whatever became of them.
    """

    def __init__(self, target: tuple[str, int], name: str = "proxy", scheme: str = "http") -> None:
        self.target = target
        self.name, self.scheme = name, scheme
        self.up, self.down = Way(), Way()
        self.links: list[Link] = []
        self.accepted = 0
        self.port = 0
        self._accepting: Accepting = "refuse"
        self._fillers: list[socket.socket] = []
        self._bind()
        self.accept("pass")

    @property
    def url(self) -> str:
        return f"{self.scheme}://127.0.0.1:{self.port}"

    @property
    def address(self) -> tuple[str, int]:
        return "127.0.0.1", self.port

    @property
    def open(self) -> list[Link]:
        """The connections that stand."""
        return [one for one in self.links if not one.over]

    def accept(self, how: Accepting) -> None:
        """What becomes of new connections; those that stand go on.

        pass: to the target. refuse: as where nothing listens. close, reset: taken, and ended at once. silence: as where
        packets are lost, connecting gets no answer.
        """
        if how in ("refuse", "silence") or self._accepting in ("refuse", "silence"):
            self._unbind()
            self._bind()
            if how == "silence":
                self._listener.listen(0)
                self._fillers = [_begun(self.address) for _ in range(FILLERS)]
            elif how != "refuse":
                self._listener.listen(1024)
                event_loop().add_reader(self._listener.fileno(), self._take)
        self._accepting = how

    def _bind(self) -> None:
        # Bound and not listening it refuses, and keeps the port from others.
        self._listener = socket.socket()
        self._listener.setblocking(False)
        self._listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        self._listener.bind(self.address)
        self.port = self._listener.getsockname()[1]

    def _unbind(self) -> None:
        event_loop().remove_reader(self._listener.fileno())
        self._listener.close()
        for one in self._fillers:
            one.close()
        self._fillers = []

    def _take(self) -> None:
        try:
            near, _ = self._listener.accept()
        except (BlockingIOError, ConnectionError):
            return
        self.accepted += 1
        near.setblocking(False)
        if self._accepting != "pass":
            if self._accepting == "reset":
                _linger_not(near)
            near.close()
            return
        link = Link(near)
        self.links.append(link)
        link.start(link.run(self.target, self.up, self.down))

    def reset(self) -> None:
        """End every connection with a RST."""
        for link in self.open:
            link.reset()

    async def close(self) -> None:
        """Let go of everything."""
        self._unbind()
        for link in self.links:
            link.cancel()
        for link in self.links:
            await on_loop(link.gone())


def _begun(address: tuple[str, int]) -> socket.socket:
    """A connection that is being opened, and that nobody accepts."""
    one = socket.socket()
    one.setblocking(False)
    if one.connect_ex(address) not in (0, errno.EINPROGRESS):
        raise OSError(f"cannot begin to connect to {address}")
    return one
