"""An origin that is nothing but octets: reads requests, remembers them, and answers by the end of their path."""

from __future__ import annotations

from collections.abc import Callable

from twisted.internet.interfaces import IPushProducer
from twisted.internet.protocol import Factory, Protocol, connectionDone
from twisted.python.failure import Failure
from zope.interface import implementer

BIG = 8 * 1024 * 1024
ENDLESS = 256 * 1024 * 1024
_PIECE = b"e" * 65536


def sized(body: bytes, fields: bytes = b"") -> bytes:
    """A 200 with this body."""
    return b"HTTP/1.1 200 OK\r\n%bcontent-length: %d\r\n\r\n%b" % (fields, len(body), body)


# The rest gets {"ok":true}; `endless` is written by a producer.
ANSWERS: dict[bytes, Callable[[bytes], bytes]] = {
    b"length": lambda body: sized(b"%d" % len(body)),
    b"big": lambda body: sized(b"x" * BIG),
    b"head": lambda body: b"HTTP/1.1 200 OK\r\ncontent-length: 1234\r\n\r\n",
    b"empty": lambda body: b"HTTP/1.1 204 No Content\r\n\r\n",
    b"unchanged": lambda body: b'HTTP/1.1 304 Not Modified\r\netag: "e"\r\n\r\n',
    b"cookies": lambda body: sized(b"{}", b"set-cookie: a=1\r\nset-cookie: b=2\r\n"),
    b"chunked": lambda body: (
        b"HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\n\r\n3\r\nabc\r\n2\r\nde\r\n0\r\nt: u\r\n\r\n"
    ),
    b"until-close": lambda body: b"HTTP/1.1 200 OK\r\nconnection: close\r\n\r\nto the end",
    b"short": lambda body: b"HTTP/1.1 200 OK\r\ncontent-length: 10\r\n\r\nabc",
    b"hints": lambda body: b"HTTP/1.1 103 Early Hints\r\nlink: </a>\r\n\r\n" + sized(b"{}"),
    b"nonsense": lambda body: b"I speak no HTTP\r\n\r\n",
    b"silent": lambda body: b"",
    b"begun": lambda body: b"HTTP/1.1 200 OK\r\ncontent-length: 10\r\n\r\nabc",
    b"endless": lambda body: b"HTTP/1.1 200 OK\r\ncontent-length: %d\r\n\r\n" % ENDLESS,
}
_THEN_CLOSED = (b"short", b"until-close")


class Origin(Factory):
    """seen: (head in lower case, body) of every request. written: octets of `endless` so far. open: connections."""

    noisy = False

    def __init__(self) -> None:
        self.seen: list[tuple[bytes, bytes]] = []
        self.written = 0
        self.open: set[Connection] = set()
        self.reading = True

    def buildProtocol(self, addr: object) -> Connection:
        return Connection(self)


@implementer(IPushProducer)
class Connection(Protocol):
    def __init__(self, origin: Origin) -> None:
        self._origin = origin
        self._data = b""
        self._paused = False

    def connectionMade(self) -> None:
        self._origin.open.add(self)
        if not self._origin.reading:
            self.transport.pauseProducing()

    def connectionLost(self, reason: Failure = connectionDone) -> None:
        self._origin.open.discard(self)

    def dataReceived(self, data: bytes) -> None:
        self._data += data
        head, end, rest = self._data.partition(b"\r\n\r\n")
        head = head.lower()
        lengths = [line[15:] for line in head.split(b"\r\n") if line.startswith(b"content-length:")]
        length = int(lengths[0]) if lengths else 0
        if end and len(rest) >= length:
            self._data = rest[length:]
            self._origin.seen.append((head, rest[:length]))
            self._answer(head.split(b" ", 2)[1].partition(b"?")[0].rpartition(b"/")[2], rest[:length])

    def _answer(self, name: bytes, body: bytes) -> None:
        self.transport.write(ANSWERS.get(name, lambda body: sized(b'{"ok":true}'))(body))
        if name in _THEN_CLOSED:
            self.transport.loseConnection()
        elif name == b"endless":
            self.transport.registerProducer(self, True)
            self.resumeProducing()

    def pauseProducing(self) -> None:
        self._paused = True

    def resumeProducing(self) -> None:
        self._paused = False
        while not self._paused and self._origin.written < ENDLESS:
            self._origin.written += len(_PIECE)
            self.transport.write(_PIECE)

    def stopProducing(self) -> None:
        self._paused = True
