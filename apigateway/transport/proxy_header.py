"""Reading the header of the PROXY protocol from an accepted socket, and nothing behind it.

It is looked at in the kernel's buffer (MSG_PEEK) and taken out alone, because the first octets of TLS or HTTP can come
in the same segment, and the loop's transports have to find them where they are.
"""

from __future__ import annotations

import asyncio
import contextlib
import select
import socket
from typing import Protocol

from apigateway.transport.addresses import Address
from apigateway.wire.proxy_protocol import LONGEST_HEADER, ProxyHeader, ProxyHeaderRefused, read_proxy_header

# Seconds until a socket is looked at again that seemed to be readable for nothing.
_LOOK_AGAIN = 0.05
# Told by poll() of a peer that has ended its side; errors and hang-ups are told in any case.
_PEER_ENDED = getattr(select, "POLLRDHUP", 0)


class HeaderWaitOwner(Protocol):
    """Who is told how a wait ended: `wait_over` always, then one of the others or none, where the peer just left."""

    def wait_over(self, waiting: HeaderWait) -> None: ...

    def hand_over(self, connection: socket.socket, peer: Address, header: ProxyHeader) -> None: ...

    def refused(self, peer: Address, why: str) -> None: ...


class HeaderWait:
    """One connection from its accept to the end of its header.

    The kernel is told how many octets there have to be before it wakes us (SO_RCVLOWAT): with half a header in the
    buffer the socket would be readable all the time. Where it wakes us all the same for nothing new, we look away for
    a moment.
    """

    __slots__ = ("_connection", "_loop", "_needed", "_owner", "_pause", "_peer", "_reading", "_timeout")

    def __init__(
        self, owner: HeaderWaitOwner, loop: asyncio.AbstractEventLoop, connection: socket.socket, peer: Address
    ) -> None:
        self._owner, self._loop, self._connection, self._peer = owner, loop, connection, peer
        self._needed = 1
        self._reading = False
        self._timeout: asyncio.TimerHandle | None = None
        self._pause: asyncio.TimerHandle | None = None

    def begin(self, timeout: float) -> None:
        """Look once at what came with the connection; mostly that is all."""
        self._timeout = self._loop.call_later(timeout, self.refuse, "the header did not come in time")
        self._look()
        if self._timeout is not None:
            self._watch()

    def _watch(self) -> None:
        self._pause = None
        self._reading = True
        self._loop.add_reader(self._connection.fileno(), self._look)

    def _look(self) -> None:
        try:
            seen = self._connection.recv(LONGEST_HEADER, socket.MSG_PEEK)
        except (BlockingIOError, InterruptedError):
            return
        except OSError:  # a reset
            self.end()
            return
        if not seen:
            self.end()  # connected and closed: somebody looks whether the port is open
        elif len(seen) >= self._needed:
            self._read(seen)
        elif self._peer_ended():
            self.refuse("the connection ended within the header")
        else:
            self._look_away()

    def _read(self, seen: bytes) -> None:
        try:
            header = read_proxy_header(seen)
        except ProxyHeaderRefused as refused:
            self.refuse(str(refused))
            return
        if isinstance(header, int):
            self._needed = header
            with contextlib.suppress(OSError):  # where it is not heeded, we are called too often, and look away
                self._connection.setsockopt(socket.SOL_SOCKET, socket.SO_RCVLOWAT, header)
        else:
            self._hand_over(header)

    def _hand_over(self, header: ProxyHeader) -> None:
        connection = self._leave()
        try:
            connection.setsockopt(socket.SOL_SOCKET, socket.SO_RCVLOWAT, 1)
            connection.recv(header.length)  # all of it is there
        except OSError:  # it was reset meanwhile
            connection.close()
            return
        self._owner.hand_over(connection, self._peer, header)

    def _peer_ended(self) -> bool:
        poll = select.poll()
        poll.register(self._connection.fileno(), _PEER_ENDED)
        return bool(poll.poll(0))

    def _look_away(self) -> None:
        self._stop_reading()
        self._pause = self._loop.call_later(_LOOK_AGAIN, self._watch)

    # ---- the end

    def refuse(self, why: str) -> None:
        """Close, and have it counted."""
        self.end()
        self._owner.refused(self._peer, why)

    def end(self) -> None:
        """Close without a word, as nobody knows yet which language is spoken."""
        self._leave().close()

    def _leave(self) -> socket.socket:
        self._stop_reading()
        for timer in (self._timeout, self._pause):
            if timer is not None:
                timer.cancel()
        self._timeout = self._pause = None
        self._owner.wait_over(self)
        return self._connection

    def _stop_reading(self) -> None:
        if self._reading:
            self._reading = False
            self._loop.remove_reader(self._connection.fileno())
