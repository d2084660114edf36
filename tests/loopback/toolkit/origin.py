"""A service behind the gateway: it remembers every request it got, and answers by a script."""

from __future__ import annotations

import asyncio
import socket
import ssl
from collections.abc import Awaitable, Callable
from typing import Any

from twisted.internet.defer import CancelledError, Deferred

from toolkit.message import Message, read_body, split_head
from toolkit.stream import Closed, Stream
from toolkit.waiting import PATIENCE, event_loop, on_loop


class Asked(Message):
    """A request that reached an origin, and the hands to answer it."""

    def __init__(self, raw: bytes, connection: Connection) -> None:
        super().__init__(*split_head(raw), raw=raw)
        self.connection = connection
        self.method, self.target, self.version = self.start.split(" ")

    async def read(self, within: float = PATIENCE) -> bytes:
        """The body, whole."""
        await read_body(self.connection, self, answer=False, within=within)
        return self.body

    def send(self, data: bytes) -> None:
        """Octets, as they are."""
        self.connection.send(data)

    def answer(self, status: int = 200, body: bytes = b"", *lines: str) -> None:
        """A response with its length."""
        fields = "".join(f"{line}\r\n" for line in (*lines, f"Content-Length: {len(body)}"))
        self.send(f"HTTP/1.1 {status} Whatever\r\n{fields}\r\n".encode("latin-1") + body)


Script = Callable[[Asked], Awaitable[None] | None]


async def read_and_answer(asked: Asked) -> None:
    """Take the request, say ok."""
    await asked.read()
    asked.answer(200, b"ok")


def answering(status: int = 200, body: bytes = b"ok", *lines: str) -> Script:
    """Take the request, answer this."""

    async def script(asked: Asked) -> None:
        await asked.read()
        asked.answer(status, body, *lines)

    return script


class Connection(Stream):
    """A connection from the gateway: request after request."""

    def __init__(self, origin: Origin) -> None:
        super().__init__()
        self.origin = origin
        self.serving: Deferred[None] | None = None

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        super().connection_made(transport)
        self.origin.connections.append(self)
        self.send(self.origin.greeting)
        self.serving = Deferred.fromCoroutine(self._serve())
        self.serving.addErrback(self._over)

    async def _serve(self) -> None:
        while True:
            # No limit: a kept connection may stay silent as long as the test lasts.
            raw = await self.past(b"\r\n\r\n", within=60.0)
            asked = Asked(raw, self)
            self.origin.asked.append(asked)
            outcome = self.origin.script(asked)
            if outcome is not None:
                await outcome

    def _over(self, failure: Any) -> None:
        if not failure.check(Closed, CancelledError):
            self.origin.errors.append(failure)
        if not self.closed:
            self.transport.close()


class Origin:
    """Listens on a port of the loopback. asked: every request; connections: every connection, the newest last."""

    def __init__(self, script: Script, name: str = "origin") -> None:
        self.script = script
        self.name = name
        # Said at once to who connects.
        self.greeting = b""
        self.asked: list[Asked] = []
        self.connections: list[Connection] = []
        self.errors: list[Any] = []
        self.address = "127.0.0.1"
        self.port = 0
        self.scheme = "http"
        self._server: asyncio.Server | None = None
        self._kept: socket.socket | None = None

    async def listen(
        self, address: str = "127.0.0.1", port: int = 0, tls: ssl.SSLContext | None = None
    ) -> None:
        """Begin, or begin again on the port of before."""
        self.address, self.scheme = address, "https" if tls else "http"
        self._server = await on_loop(
            event_loop().create_server(lambda: Connection(self), address, port or self.port, ssl=tls)
        )
        self._let_go()
        self.port = self._server.sockets[0].getsockname()[1]

    @property
    def url(self) -> str:
        return f"{self.scheme}://{self.address}:{self.port}"

    @property
    def last(self) -> Asked:
        return self.asked[-1]

    @property
    def open(self) -> list[Connection]:
        """The connections that stand."""
        return [one for one in self.connections if not one.closed]

    def die(self) -> None:
        """As if its process was killed: no more port, and every connection reset."""
        self.stop()
        for connection in self.open:
            connection.reset()

    def stop(self) -> None:
        """Accept no more; the port is kept, or another program would be given it."""
        if self._server is not None:
            self._close()
            self._kept = socket.socket(socket.AF_INET6 if ":" in self.address else socket.AF_INET)
            self._kept.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
            self._kept.bind((self.address, self.port))

    def _close(self) -> None:
        if self._server is not None:
            self._server.close()
            self._server = None

    def _let_go(self) -> None:
        if self._kept is not None:
            self._kept.close()
            self._kept = None

    def end(self) -> None:
        """Let go of everything."""
        self._close()
        self._let_go()
        for connection in self.connections:
            if connection.serving is not None:
                connection.serving.cancel()
            connection.transport.abort()
