"""A control channel: messages over a pair of Unix sockets, on the loop."""

from __future__ import annotations

import asyncio
import socket
from collections.abc import Callable
from typing import cast

from twisted.internet.defer import Deferred
from twisted.logger import Logger

from apigateway.supervisor.messages import BadFrame, Decoder, Message, encode

log = Logger()

# What a peer that does not read may have waiting: past this, news that will be told again are left out.
MOST_WAITING = 1024 * 1024


class Channel(asyncio.Protocol):
    """One end. received: called with each message; lost: called once, when the other end is gone.

    What `received` raises is logged, and ends nothing: a worker without its channel would have to end.
    """

    def __init__(self, received: Callable[[Message], None], lost: Callable[[], None]) -> None:
        self._received, self._lost = received, lost
        self._decoder = Decoder()
        self._transport: asyncio.Transport | None = None

    def send(self, message: Message) -> None:
        """Have it sent, after those before; nothing where the other end is gone."""
        if self._transport is not None:
            self._transport.write(encode(message))

    def tell(self, message: Message) -> None:
        """The same for what is told again soon: left out while the other end does not read."""
        if not self.full:
            self.send(message)

    @property
    def full(self) -> bool:
        """Whether the other end does not read, or is gone."""
        return self._transport is None or self._transport.get_write_buffer_size() >= MOST_WAITING

    def close(self) -> None:
        """Send what waits, and close; `lost` follows."""
        if self._transport is not None:
            self._transport.close()

    # ---- told by the loop

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self._transport = cast(asyncio.Transport, transport)

    def data_received(self, data: bytes) -> None:
        try:
            for message in self._decoder.feed(data):
                self._tell_received(message)
        except BadFrame as error:
            log.error("the control channel is broken: {why}", why=str(error))
            self.close()  # what was said before is still sent: perhaps it is why

    def _tell_received(self, message: Message) -> None:
        try:
            self._received(message)
        except Exception:
            log.failure("a message over the control channel failed: {kind}", kind=type(message).__name__)

    def connection_lost(self, exc: Exception | None) -> None:
        self._transport = None
        self._lost()


async def open_channel(loop: asyncio.AbstractEventLoop, end: socket.socket, channel: Channel) -> Channel:
    """Opens a channel over one end of a socket pair, which it owns from here on. What comes may come before this
    returns."""
    end.setblocking(False)
    await Deferred.fromFuture(loop.create_task(loop.create_unix_connection(lambda: channel, sock=end)))
    return channel
