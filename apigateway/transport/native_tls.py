"""The same over TLS by the loop: what differs is how a connection is read, and how it ends."""

from __future__ import annotations

import asyncio
import ssl
from typing import Any, cast

from cryptography.x509 import load_der_x509_certificate
from OpenSSL.crypto import X509
from twisted.internet import error
from twisted.internet.interfaces import ISSLTransport
from zope.interface import implementer

from apigateway.transport.native import HIGH_WATER, LOW_WATER, Build, Made, NativeTransport, _discard

# What was decrypted last, of whichever connection: it is read out before the loop decrypts any more.
_DECRYPTED = memoryview(bytearray(HIGH_WATER))


@implementer(ISSLTransport)
class NativeTlsTransport(NativeTransport):  # type: ignore[override]
    """One TLS connection, from the end of its handshake.

    - uvloop takes it for an `asyncio.BufferedProtocol`. For any other it has 256 KiB allocated at every read, however
      little came.
    - A peer that ends without close_notify gives ConnectionLost, not ConnectionDone: the end of what it sent
      may have been cut off (RFC 8446 6.1). uvloop tells; asyncio's own loop takes one for the other.
    - `loseConnection` lets the TLS layer drain before it closes, because the loop's shutdown timeout would cut
      off what a slow reader has not taken. Out of sight stays the buffer of the TCP transport below: 64 KiB and
      the last piece, so write a large body in pieces, or give the timeout room.
    """

    __slots__ = ("_close_notify", "_flushing", "_last_ssl_object")

    def __init__(self, build: Build, made: Made | None = None) -> None:
        super().__init__(build, made)
        self._close_notify = False
        self._flushing = False
        self._last_ssl_object: ssl.SSLObject | None = None

    def _set_limits(self, native: asyncio.Transport) -> None:
        # The loops' defaults for TLS are 512 KiB out and 256 KiB in, per connection.
        native.set_write_buffer_limits(HIGH_WATER, LOW_WATER)
        cast(Any, native).set_read_buffer_limits(HIGH_WATER, LOW_WATER)

    def _take_what_came(self) -> None:
        """What is left in the kernel is encrypted."""

    def get_buffer(self, hint: int) -> memoryview:
        return _DECRYPTED

    def buffer_updated(self, count: int) -> None:
        self.data_received(bytes(_DECRYPTED[:count]))

    def eof_received(self) -> bool:
        self._close_notify = True
        self._send_out()  # as without TLS
        self.disconnecting = True
        return False

    def connection_lost(self, exc: Exception | None) -> None:
        super().connection_lost(exc)
        # uvloop's transport of TLS holds this one for good: let go of it, or both stay until the collector comes. What
        # it could still tell is kept.
        self.getPeer()
        self.getHost()
        self._last_ssl_object = self.ssl_object
        self._native = self._out = None

    @property
    def ssl_object(self) -> ssl.SSLObject | None:
        return super().ssl_object or self._last_ssl_object

    def resume_writing(self) -> None:
        super().resume_writing()
        if self._flushing and self._native is not None:
            self._native.close()

    def _close(self) -> None:
        native = self._native
        if native is None or self._flushing:
            return
        self._send_out()
        self.write = self.writeSequence = _discard
        if not native.get_write_buffer_size():
            native.close()
            return
        # With both limits at nothing, resume_writing is called when nothing is left.
        self._flushing = True
        self.data_received = _discard
        native.set_write_buffer_limits(0)

    def _reason(self, exc: Exception | None) -> Exception:
        if self._aborted:
            return error.ConnectionAborted()
        if self.disconnecting and (exc is None or isinstance(exc, ssl.SSLError | TimeoutError)):
            return error.ConnectionDone()
        if exc is None and not self._close_notify:
            return error.ConnectionLost("the peer ended without close_notify")
        return super()._reason(exc)

    def peer_certificate(self) -> bytes | None:
        """The peer's certificate, DER; None where it showed none."""
        ssl_object = self.ssl_object
        return None if ssl_object is None else ssl_object.getpeercert(True)

    def getPeerCertificate(self) -> X509 | None:
        der = self.peer_certificate()
        return None if der is None else X509.from_cryptography(load_der_x509_certificate(der))
