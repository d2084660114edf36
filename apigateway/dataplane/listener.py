"""An address that clients connect to: what its connections share, and who they are."""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING, Any

from twisted.internet.defer import Deferred
from twisted.internet.protocol import Factory

from apigateway.config.model import Listener as ListenerSettings
from apigateway.config.model import ListenerLimits
from apigateway.dataplane.downstream import Downstream
from apigateway.dataplane.listener_tls import ListenerTlsContext
from apigateway.dataplane.peer import peer_certificate
from apigateway.dataplane.sni import asked_name, names_for
from apigateway.flow.exchange import Connection
from apigateway.ports.interfaces import ITimers
from apigateway.wire.forwarding import client_address, trusted_scheme_host
from apigateway.wire.ipset import IpSet
from apigateway.wire.limits import Limits
from apigateway.wire.message import Request

if TYPE_CHECKING:
    from apigateway.dataplane.driver import WorkerDriver


# Seconds between two events about refused PROXY headers: a balancer that is set up wrongly has one per connection.
TELL_EVERY = 10.0


class Listener(Factory):
    """Factory of the connections of one listener; `apply` changes what new ones get, the others stay as they are."""

    noisy = False

    def __init__(
        self, settings: ListenerSettings, driver: WorkerDriver, timers: ITimers, now: Callable[[], float],
        trusted: IpSet, trusted_fields: str = "x-forwarded",
    ) -> None:
        self.name = settings.name
        self.driver = driver
        self.timers = timers
        self.now = now
        self.trusted = trusted
        self.scheme = "https" if settings.tls else "http"
        self.tls: ListenerTlsContext | None = None
        self.draining = False
        self.connections: set[Downstream] = set()
        # Ports that have stopped, with connections of which some may still become ours.
        self._coming: set[Any] = set()
        self._empty: list[Deferred[None]] = []
        self.proxy_headers_refused = self._refused_told = 0
        self._tell_refused_at = 0.0
        self.apply(settings, trusted, trusted_fields)

    def apply(self, settings: ListenerSettings, trusted: IpSet, trusted_fields: str) -> None:
        """Limits and trust for connections from now on. trusted_fields: the kind that trusted proxies write."""
        self._by_forwarded = trusted_fields == "rfc7239"
        self.settings = settings
        self.trusted = trusted
        proxied = settings.proxy_protocol
        self._proxies = IpSet(proxied.trusted if proxied else ())
        self._proxy_timeout = proxied.timeout if proxied else 0.0
        given = settings.limits
        self.limits = limits_of(given)
        self.header_timeout = given.header_timeout
        self.idle_timeout = given.idle_timeout
        self.body_timeout = given.body_timeout

    def buildProtocol(self, addr: object) -> Any:
        return Downstream(self)

    # ---- the PROXY protocol, asked and told by the port (see its ProxiedFactory)

    def proxy_timeout(self, ip: str) -> float | None:
        """Seconds that a peer has for its PROXY header; None: it is a client, and sends none."""
        return self._proxy_timeout if ip in self._proxies else None

    def proxy_refused(self, peer: Any, why: str) -> None:
        """A proxy's connection was closed: counted, and told now and then."""
        self.proxy_headers_refused += 1
        now = self.now()
        if now >= self._tell_refused_at:
            more = self.proxy_headers_refused - self._refused_told
            self._tell_refused_at, self._refused_told = now + TELL_EVERY, self.proxy_headers_refused
            self.driver.events.event(
                "warn", "PROXY header refused", listener=self.name, peer=peer.host, why=why, connections=more
            )

    def still_coming(self, port: Any) -> None:
        """The port has stopped; connections that wait for their header or shake hands may still come of it."""
        self._coming.add(port)

    def none_coming(self, port: Any) -> None:
        self._coming.discard(port)
        self._look_whether_empty()

    # ---- connections

    def opened(self, connection: Downstream) -> None:
        self.connections.add(connection)

    def lost(self, connection: Downstream) -> None:
        self.connections.discard(connection)
        self._look_whether_empty()

    def _look_whether_empty(self) -> None:
        if not self.connections and not self._coming:
            waiting, self._empty = self._empty, []
            for one in waiting:
                one.callback(None)

    def describe(self, transport: Any) -> Connection:
        """What exchanges may know of a connection. Where a PROXY header came, its client is the peer."""
        peer, host = transport.getPeer(), transport.getHost()
        ip = getattr(peer, "host", "")
        tls = getattr(transport, "ssl_object", None)
        trusted = bool(ip) and ip in self.trusted
        port, local_port = getattr(peer, "port", 0), getattr(host, "port", None)
        if tls is None:
            return Connection(self.name, ip, port, trusted, local_port, self.scheme)
        client_auth = self.settings.tls.client_auth.mode if self.settings.tls else "none"
        # Only where client certificates matter may a name reached by another one be a way around them.
        names = names_for(tls) if client_auth != "none" else ()
        return Connection(
            self.name, ip, port, trusted, local_port, self.scheme, tls_version=tls.version() or "", sni=asked_name(tls),
            certificate=peer_certificate(tls), certificate_names=names,
        )

    def look_through(self, connection: Connection, request: Request) -> str:
        """The client behind a trusted proxy; the scheme that it used becomes the request's."""
        lines = request.forwarded or ()
        request.forwarded = [line for line in lines if (line[0] == b"forwarded") is self._by_forwarded]
        request.scheme = trusted_scheme_host(connection.peer, request, self.trusted)[0]
        return client_address(connection.peer, request, self.trusted)

    # ---- draining

    def drain(self) -> None:
        """Answers from now on end their connection; what is idle closes now."""
        self.draining = True
        for connection in list(self.connections):
            connection.close_if_idle()

    def empty(self) -> Deferred[None]:
        """Fires when no connection is left, and none can come of a port that has stopped."""
        fired: Deferred[None] = Deferred()
        self._empty.append(fired)
        self._look_whether_empty()
        return fired

    def end_all(self) -> None:
        """The time of the drain is over. WebSockets are sent Close 1001, and are gone when they have answered it or
        two seconds later; what else is left is cut off."""
        self._end_coming()
        for connection in list(self.connections):
            connection.end()

    def abort_all(self) -> None:
        """Cut off what is left."""
        self._end_coming()
        for connection in list(self.connections):
            connection.abort()

    def _end_coming(self) -> None:
        for port in list(self._coming):
            port.end_coming()


def limits_of(given: ListenerLimits) -> Limits:
    """A listener's settings as the wire's limits."""
    return Limits(
        max_target=given.max_target, max_head=given.max_head, max_field=given.max_field, max_fields=given.max_fields,
        max_trailers=given.max_trailers, max_body=given.max_body,
    )
