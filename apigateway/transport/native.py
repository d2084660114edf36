"""A connection of the event loop, seen as a Twisted transport.

The loop calls one object with what happened (connection_made, data_received, ...), and a Twisted protocol
calls the same object to write, pause and close. What runs per read or write is bound straight through:
`data_received` is the protocol's `dataReceived`, `write` is the loop's own. Measured against a bare asyncio
protocol, it costs nothing.
"""

from __future__ import annotations

import asyncio
import errno
import os
import select
import socket
import ssl
import struct
from collections.abc import Callable, Iterable
from contextlib import suppress
from typing import Any, cast

from twisted.internet import error
from twisted.internet.interfaces import (
    IAddress,
    IConsumer,
    IHalfCloseableProtocol,
    IProtocol,
    IPushProducer,
    ITCPTransport,
)
from twisted.logger import Logger
from twisted.python.failure import Failure
from zope.interface import implementer

from apigateway.transport.addresses import Address, address_from
from apigateway.transport.pulling import Pulled
from apigateway.transport.turn import Outgoing, turn_of

log = Logger()

HIGH_WATER = 64 * 1024
"""Octets waiting to be sent above which the producer is paused."""
LOW_WATER = 16 * 1024
"""Octets at which it goes on. uvloop's own default is 16 octets, which lets the socket run dry."""

# After a failed write so often HIGH_WATER octets are read, which the peer sent before it closed.
_LAST_READS = 16
# Told by poll() also of a socket that nobody reads from; errors and hang-ups are told in any case.
_PEER_ENDED = getattr(select, "POLLRDHUP", 0)
# SO_LINGER on, for no time: closing sends a RST.
_RESET = struct.pack("ii", 1, 0)

Build = Callable[[IAddress], IProtocol | None]
Made = Callable[[IProtocol | Failure], None]

# An OSError that a protocol raised by itself (a file it could not open) is a defect to be logged; these are
# what the kernel says about a connection.
_NETWORK_ERRNOS = frozenset(
    {errno.EHOSTUNREACH, errno.ENETUNREACH, errno.EHOSTDOWN, errno.ENETDOWN, errno.ENOTCONN, errno.EPROTO}
)


def _discard(data: object) -> None:
    """Takes what is written to, or arrives at, a connection that is over."""


def _built(address: IAddress) -> None:
    """Takes the place of what built the protocol, which may hold the protocol."""


def _nothing() -> None:
    """Pauses and resumes the reading of a connection that has nothing left to read."""


def _network_failed(exc: Exception) -> bool:
    if isinstance(exc, ConnectionError | TimeoutError | ssl.SSLError):
        return True
    return isinstance(exc, OSError) and exc.errno in _NETWORK_ERRNOS


@implementer(ITCPTransport, IConsumer, IPushProducer)
class NativeTransport(asyncio.BaseProtocol):
    """One connection, from connection_made to connection_lost.

    build: makes the Twisted protocol (a factory's buildProtocol), called with the peer's address once the
    connection stands (with TLS: once the handshake is done).
    made: for the side that connects: told the protocol right after its connectionMade and before its first
    byte, or the failure to build one.

    - A peer that closes its sending side is treated as gone: what was written is flushed and the connection
      closes, unless the protocol provides IHalfCloseableProtocol (never with TLS, which cannot half close).
    - While reading is paused, a peer that leaves is not noticed, but `peer_ended` tells.
    - `loseConnection` has no deadline: a peer that stops reading holds it until `abortConnection`.
    - A protocol that raises from dataReceived is logged, and loses its connection by an abort.
    - `write` takes bytes and does not copy them; the attribute is replaced when the connection is over, so a
      protocol must not keep it bound past connectionLost.
    """

    __slots__ = (
        "_aborted", "_build", "_host", "_made", "_out", "_native", "_over",
        "_paused", "_peer", "_producer", "_protocol", "data_received", "disconnecting",
        "pauseProducing", "resumeProducing", "write", "writeSequence",
    )  # fmt: skip

    write: Callable[[bytes], None]
    writeSequence: Callable[[Iterable[bytes]], None]
    pauseProducing: Callable[[], None]
    resumeProducing: Callable[[], None]
    data_received: Callable[[bytes], None]

    def __init__(self, build: Build, made: Made | None = None) -> None:
        self._build = build
        self._made = made
        self._native: asyncio.Transport | None = None
        self._protocol: IProtocol | None = None
        self._producer: Any = None
        self._peer: Address | None = None
        self._host: Address | None = None
        self._paused = False
        self._aborted = False
        self._over = False
        self._out: Outgoing | None = None
        self.disconnecting = False
        self._bind_nothing()

    def _bind_nothing(self) -> None:
        self.write = self.writeSequence = self.data_received = _discard
        self.pauseProducing = self.resumeProducing = _nothing

    # ---- told by the loop

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        native = self._native = cast(asyncio.Transport, transport)
        out = self._out = Outgoing(turn_of(asyncio.get_running_loop()), native.write)
        self.write = out.write
        self.writeSequence = out.write_all
        self.pauseProducing = native.pause_reading
        self.resumeProducing = native.resume_reading
        self._set_limits(native)
        try:
            protocol = self._build_protocol(native)
        except Exception:
            self._not_built(Failure())
            return
        try:
            protocol.makeConnection(self)
        except Exception:
            log.failure("connectionMade failed; the connection is aborted")
            self.abortConnection()
        if self._made is not None:
            self._made(protocol)
            self._made = None

    def _set_limits(self, native: asyncio.Transport) -> None:
        native.set_write_buffer_limits(HIGH_WATER, LOW_WATER)

    def _build_protocol(self, native: asyncio.Transport) -> IProtocol:
        name = native.get_extra_info("peername")
        # None: the peer reset the connection before it was accepted.
        build, self._build = self._build, _built
        protocol = None if name is None else build(self.getPeer())
        if protocol is None:
            raise error.NoProtocol()
        self._protocol = protocol
        self.data_received = protocol.dataReceived
        # uvloop looked data_received up when it accepted, before there was a peer to build a protocol for.
        native.set_protocol(self)
        return protocol

    def _not_built(self, failure: Failure) -> None:
        self.abortConnection()
        if self._made is not None:
            self._made(failure)
            self._made = None
        elif not failure.check(error.NoProtocol):  # a factory's None is its way to refuse a connection
            log.failure("buildProtocol failed; the connection is aborted", failure=failure)

    def eof_received(self) -> bool:
        """True keeps the sending side open."""
        self._send_out()  # what was written for the read that came with the end: from now on the loop takes nothing
        self.resumeProducing = _nothing
        if not IHalfCloseableProtocol.providedBy(self._protocol):
            self.disconnecting = True  # the loop closes it; who keeps connections is to know before connectionLost
            return False
        cast(Any, self._protocol).readConnectionLost()
        return True

    def _send_out(self) -> None:
        if self._out is not None:
            self._out.send()

    def _forget_out(self) -> None:
        if self._out is not None:
            self._out.forget()

    def pause_writing(self) -> None:
        self._paused = True
        if self._producer is not None:
            self._producer.pauseProducing()

    def resume_writing(self) -> None:
        self._paused = False
        if self._producer is not None:
            self._producer.resumeProducing()

    def connection_lost(self, exc: Exception | None) -> None:
        if isinstance(exc, ConnectionError) and not self._aborted:
            self._take_what_came()
        self._over = True
        self._forget_out()
        self._bind_nothing()
        # Dropped here, transport and protocol are no longer a cycle: they are freed without the collector.
        protocol, self._protocol = self._protocol, None
        producer, self._producer = self._producer, None
        if exc is not None and not _network_failed(exc):
            log.failure("A protocol failed; its connection is aborted", failure=Failure(exc))
        try:
            if producer is not None:
                producer.stopProducing()
            if protocol is not None:
                protocol.connectionLost(Failure(self._reason(exc)))
        except Exception:
            log.failure("connectionLost failed")

    def _take_what_came(self) -> None:
        """A write failed because the peer has closed. What it said before that is still in the kernel, and is often
        the reason: an answer to a request that it did not want to read to its end (RFC 9112 9.3)."""
        connection = self._socket()
        self.write = self.writeSequence = _discard
        try:
            for _ in range(_LAST_READS):
                data = b"" if connection is None else os.read(connection.fileno(), HIGH_WATER)
                if not data:
                    return
                self.data_received(data)
        except OSError:
            return
        except Exception:
            log.failure("dataReceived failed on a connection that is over")

    def _reason(self, exc: Exception | None) -> Exception:
        if self._aborted:
            return error.ConnectionAborted()
        if exc is None:
            return error.ConnectionDone()
        reason = error.ConnectionLost(str(exc) or type(exc).__name__)
        reason.__cause__ = exc
        return reason

    # ---- told by the protocol: ITransport

    # The interface knows TCP only; a Unix socket has a UNIXAddress.
    def getPeer(self) -> Address:  # type: ignore[override]
        if self._peer is None:
            self._peer = address_from(self._extra("peername"))
        return self._peer

    def getHost(self) -> Address:  # type: ignore[override]
        if self._host is None:
            self._host = address_from(self._extra("sockname"))
        return self._host

    def loseConnection(self) -> None:
        """Close when everything written is sent and the producer, if there is one, is unregistered."""
        if not self.disconnecting:
            self.disconnecting = True
            if self._producer is None:
                self._close()

    def _close(self) -> None:
        self._send_out()
        self.write = self.writeSequence = _discard
        if self._native is not None:
            self._native.close()

    def abortConnection(self) -> None:
        """Close now, by a reset; what was not sent is lost. connectionLost follows, in a later turn of the loop.

        A peer that is told the end of a message by the close of the connection must not take this for one.
        """
        if self._native is not None and not self._over and not self._aborted:
            connection = self._socket()
            if connection is not None:
                with suppress(OSError):  # the loop may have closed it already
                    connection.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, _RESET)
            self._aborted = self.disconnecting = True
            self._forget_out()
            self._bind_nothing()
            self._native.abort()

    def loseWriteConnection(self) -> None:
        """Send what was written, then end the sending side only; where that is not possible, close."""
        native = self._native
        if native is None or self._over or self.disconnecting:
            return
        if native.can_write_eof():
            self._send_out()
            self.write = self.writeSequence = _discard
            native.write_eof()
        else:
            self.loseConnection()

    # ---- IConsumer, IPushProducer

    def registerProducer(self, producer: Any, streaming: bool) -> None:
        """The producer is paused above HIGH_WATER and resumed at LOW_WATER. RuntimeError if there is one."""
        if self._producer is not None:
            raise RuntimeError(f"cannot register {producer!r}: {self._producer!r} is still registered")
        if self._over:
            producer.stopProducing()
            return
        self._producer = producer if streaming else Pulled(producer)
        if self._paused:
            self._producer.pauseProducing()
        elif not streaming:
            self._producer.resumeProducing()

    def unregisterProducer(self) -> None:
        if isinstance(self._producer, Pulled):
            self._producer.pauseProducing()
        self._producer = None
        if self.disconnecting and not self._aborted:
            self._close()

    def stopProducing(self) -> None:
        self.loseConnection()

    # ---- the socket, and TLS

    def _extra(self, name: str) -> Any:
        try:
            return None if self._native is None else self._native.get_extra_info(name)
        except OSError:  # uvloop asks the socket of a Unix connection, and it may be closed
            return None

    @property
    def ssl_object(self) -> ssl.SSLObject | None:
        """The handshake's result (`version()`, `cipher()`, `selected_alpn_protocol()`); None without TLS."""
        return cast("ssl.SSLObject | None", self._extra("ssl_object"))

    def peer_ended(self) -> bool:
        """Whether the peer has ended its side or is gone. Asks the kernel, so that it may be asked while reading is
        paused; False where the system cannot tell (macOS)."""
        connection = None if self._over else self._extra("socket")
        if connection is None:
            return self._over
        poll = select.poll()
        poll.register(connection.fileno(), _PEER_ENDED)
        return bool(poll.poll(0))

    def getTcpNoDelay(self) -> bool:
        return self._option(socket.IPPROTO_TCP, socket.TCP_NODELAY)

    def setTcpNoDelay(self, enabled: bool) -> None:
        self._set_option(socket.IPPROTO_TCP, socket.TCP_NODELAY, enabled)

    def getTcpKeepAlive(self) -> bool:
        return self._option(socket.SOL_SOCKET, socket.SO_KEEPALIVE)

    def setTcpKeepAlive(self, enabled: bool) -> None:
        self._set_option(socket.SOL_SOCKET, socket.SO_KEEPALIVE, enabled)

    def _option(self, level: int, option: int) -> bool:
        connection = self._socket()
        return connection is not None and bool(connection.getsockopt(level, option))

    def _set_option(self, level: int, option: int, enabled: bool) -> None:
        connection = self._socket()
        if connection is not None:
            connection.setsockopt(level, option, int(enabled))

    def _socket(self) -> socket.socket | None:
        """The TCP socket of a connection that still stands."""
        connection = self._extra("socket")
        if self._over or connection is None or connection.family == socket.AF_UNIX:
            return None
        return cast(socket.socket, connection)
