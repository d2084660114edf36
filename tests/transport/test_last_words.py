"""What a protocol writes for the read that came with the peer's end."""

from __future__ import annotations

import socket
import ssl
from contextlib import suppress
from typing import Any

import pytest_twisted
from peers import Echo
from twisted.internet.threads import deferToThread

ASKED = b"ask and go"
# RFC 8446 5.1, 5.2: and a record is so much longer than what it protects.
APPLICATION_DATA = 23
PROTECTION = 17


def ask_and_go(address: tuple[str, int], context: ssl.SSLContext) -> list[int]:
    """Sizes of the protected records heard by a client whose request and close_notify arrive in one read."""
    incoming, outgoing = ssl.MemoryBIO(), ssl.MemoryBIO()
    tls = context.wrap_bio(incoming, outgoing, server_hostname="a.test")
    with socket.create_connection(address, timeout=5) as connection:
        while True:
            try:
                tls.do_handshake()
                break
            except ssl.SSLWantReadError:
                connection.sendall(outgoing.read())
                incoming.write(connection.recv(65536))
        tls.write(ASKED)
        with suppress(ssl.SSLWantReadError):
            tls.unwrap()
        connection.sendall(outgoing.read())
        heard = b""
        while more := connection.recv(65536):
            heard += more
    sizes = []
    while heard:
        size = int.from_bytes(heard[3:5], "big")
        if heard[0] == APPLICATION_DATA:
            sizes.append(size)
        heard = heard[5 + size :]
    return sizes


@pytest_twisted.ensureDeferred
async def test_an_answer_to_what_came_with_close_notify_is_sent(
    sockets: Any, server_tls: ssl.SSLContext, client_tls: ssl.SSLContext
) -> None:
    port, _ = await sockets.serve(Echo, ssl_context=server_tls)
    address = port.getHost()
    sizes = await deferToThread(ask_and_go, (address.host, address.port), client_tls)
    assert len(ASKED) + PROTECTION in sizes
