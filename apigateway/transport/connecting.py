"""One attempt to connect, and the names of what can go wrong with it."""

from __future__ import annotations

import asyncio
import ssl
from dataclasses import dataclass
from typing import Any

from twisted.internet import error
from twisted.internet.defer import Deferred
from twisted.internet.interfaces import IAddress, IProtocol, IProtocolFactory
from twisted.python.failure import Failure

from apigateway.transport.addresses import Place, address_of
from apigateway.transport.native import NativeTransport
from apigateway.transport.native_tls import NativeTlsTransport


class TlsHandshakeFailed(error.ConnectError):
    """The peer was reached, but TLS with it was not agreed on.

    certificate: its certificate was the reason (unknown CA, wrong name, expired); else a version, an alert,
    or a connection that ended in the handshake.
    """

    def __init__(self, reason: str, *, certificate: bool) -> None:
        super().__init__(string=reason)  # type: ignore[no-untyped-call]
        self.certificate = certificate


@dataclass(frozen=True, slots=True)
class ClientTls:
    """TLS of an outgoing connection. Timeouts in seconds."""

    context: ssl.SSLContext
    server_hostname: str
    handshake_timeout: float = 30.0
    shutdown_timeout: float = 30.0


class Attempt:
    """Connects, and fires `connected` once with what comes first: a protocol, a failure, the timeout.

    Cancelling `connected` ends the attempt, and closes its socket.
    """

    def __init__(
        self,
        loop: asyncio.AbstractEventLoop,
        place: Place,
        factory: IProtocolFactory,
        timeout: float,
        tls: ClientTls | None,
    ) -> None:
        self.connected: Deferred[IProtocol] = Deferred(self._cancelled)
        self._loop = loop
        self._place = place
        self._factory = factory
        self._tls = tls
        self._settled = False
        self._timer = loop.call_later(timeout, self._late)
        self._task: asyncio.Task[None] | None = loop.create_task(self._dial())
        self._task.add_done_callback(self._dialled)

    async def _dial(self) -> None:
        options = self._tls_options()
        if isinstance(self._place, str):
            await self._loop.create_unix_connection(self._transport, self._place, **options)
        else:
            await self._loop.create_connection(self._transport, *self._place, **options)

    def _tls_options(self) -> dict[str, Any]:
        if self._tls is None:
            return {}
        return {
            "ssl": self._tls.context,
            "server_hostname": self._tls.server_hostname,
            "ssl_handshake_timeout": self._tls.handshake_timeout,
            "ssl_shutdown_timeout": self._tls.shutdown_timeout,
        }

    def _transport(self) -> NativeTransport:
        kind = NativeTlsTransport if self._tls else NativeTransport
        return kind(self._build, self._settle)

    def _build(self, address: IAddress) -> IProtocol | None:
        """No protocol for who was told of a failure: uvloop may connect in the very turn in which the attempt ends, and
        closes that connection without a word to it."""
        return None if self._settled else self._factory.buildProtocol(address)

    def _settle(self, result: IProtocol | Failure) -> None:
        if not self._settled:
            self._settled = True
            self._timer.cancel()
            self.connected.callback(result)  # a Failure turns to the errbacks

    def _dialled(self, task: asyncio.Task[None]) -> None:
        self._task = None  # its exception's traceback holds this attempt
        if task.cancelled():
            return
        exc = task.exception()
        if exc is not None:
            self._settle(Failure(connect_error(exc, self._tls is not None)))

    def _late(self) -> None:
        self._end(error.TimeoutError())

    def _cancelled(self, _: Deferred[IProtocol]) -> None:
        self._end(error.ConnectingCancelledError(address_of(self._place)))

    def _end(self, why: Exception) -> None:
        if self._task is not None:
            self._task.cancel()
        self._settle(Failure(why))


def connect_error(exc: BaseException, tls: bool) -> BaseException:
    """What Twisted calls an exception of the loop's create_connection."""
    named = _named(exc, tls)
    if named is not exc:
        named.__cause__ = exc
    return named


def _named(exc: BaseException, tls: bool) -> BaseException:
    if isinstance(exc, ssl.SSLCertVerificationError):
        return TlsHandshakeFailed(exc.verify_message, certificate=True)
    if isinstance(exc, ssl.SSLError):
        return TlsHandshakeFailed(exc.reason or str(exc), certificate=False)
    if tls and isinstance(exc, ConnectionResetError | ConnectionAbortedError):
        return TlsHandshakeFailed("the connection ended in the handshake", certificate=False)
    if isinstance(exc, OSError):
        known: BaseException = error.getConnectError(exc)
        return known
    return exc
