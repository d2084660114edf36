"""The bare trial: what moving the octets of the job costs, and nothing of what a gateway is for.

llhttp on both sides, a Twisted protocol on the native transport, heads forwarded field by field, connections kept on
both sides. No limits, no timeouts, no errors, no streaming: the floor that a gateway on this ground cannot go below.

python -m bench.bare PORT BACKEND_PORT [CHAIN KEY]

With a certificate, TLS of the loop on the client's side.
"""

from __future__ import annotations

import ssl
import sys
from typing import Any

from httptools import HttpRequestParser, HttpResponseParser

from apigateway.transport.reactor import install

install()

from twisted.internet import reactor  # noqa: E402
from twisted.internet.defer import Deferred  # noqa: E402
from twisted.internet.protocol import Factory, Protocol  # noqa: E402

from apigateway.transport.endpoints import NativeClientEndpoint, NativeServerEndpoint  # noqa: E402

BACKEND = ("127.0.0.1", int(sys.argv[2]))
IDLE: list[Upstream] = []
Lines = list[tuple[bytes, bytes]]


class Upstream(Protocol):
    """A connection to the backend; in IDLE between requests."""

    transport: Any

    def ask(self, client: Client, head: bytes) -> None:
        self.client = client
        self.lines: Lines = []
        self.body: list[bytes] = []
        self.parser = HttpResponseParser(self)
        self.transport.write(head)

    def dataReceived(self, data: bytes) -> None:
        self.parser.feed_data(data)

    def on_status(self, reason: bytes) -> None:
        self.reason = reason

    def on_header(self, name: bytes, value: bytes) -> None:
        self.lines.append((name, value))

    def on_body(self, piece: bytes) -> None:
        self.body.append(piece)

    def on_message_complete(self) -> None:
        answer = [b"HTTP/1.1 %d %b\r\n" % (self.parser.get_status_code(), self.reason)]
        answer += [b"%b: %b\r\n" % line for line in self.lines]
        answer.append(b"\r\n")
        answer += self.body
        self.client.transport.write(b"".join(answer))
        IDLE.append(self)


class Client(Protocol):
    """A client's connection."""

    transport: Any

    def connectionMade(self) -> None:
        self.lines: Lines = []
        self.parser = HttpRequestParser(self)

    def dataReceived(self, data: bytes) -> None:
        self.parser.feed_data(data)

    def on_url(self, target: bytes) -> None:
        self.target = target

    def on_header(self, name: bytes, value: bytes) -> None:
        self.lines.append((name, value))

    def on_message_complete(self) -> None:
        request = [b"%b %b HTTP/1.1\r\n" % (self.parser.get_method(), self.target)]
        request += [b"%b: %b\r\n" % line for line in self.lines]
        request.append(b"\r\n")
        self.lines = []
        head = b"".join(request)
        if IDLE:
            IDLE.pop().ask(self, head)
        else:
            opened: Deferred[Any] = NativeClientEndpoint(reactor, BACKEND).connect(Factory.forProtocol(Upstream))
            opened.addCallback(lambda upstream: upstream.ask(self, head))


def main() -> None:
    """Serve until ended."""
    context = None
    if len(sys.argv) > 3:
        context = ssl.create_default_context(ssl.Purpose.CLIENT_AUTH)
        context.load_cert_chain(*sys.argv[3:5])
    place = ("127.0.0.1", int(sys.argv[1]))
    NativeServerEndpoint(reactor, place, ssl_context=context).listen(Factory.forProtocol(Client))
    reactor.run()


if __name__ == "__main__":
    main()
