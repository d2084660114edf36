"""Endpoint strings for native transports.

Servers: `native:8080[:interface=127.0.0.1]`, `nativetls:8443:cert=a.pem:key=a.key[:interface=...]`,
`nativeunix:/run/gateway.sock`. Clients: `native:host=127.0.0.1:port=8080[:timeout=5]`. In an address of
IPv6, Twisted wants each colon behind a backslash.
"""

from __future__ import annotations

import ssl
from typing import Any

from twisted.internet.interfaces import (
    IStreamClientEndpointStringParserWithReactor,
    IStreamServerEndpointStringParser,
)
from twisted.plugin import IPlugin
from zope.interface import implementer

from apigateway.transport.endpoints import NativeClientEndpoint, NativeServerEndpoint

ANY = "0.0.0.0"  # what Twisted's own `tcp:` listens on where no interface is named


def _server(reactor: Any, port: str, interface: str = ANY, backlog: str = "1024") -> NativeServerEndpoint:
    return NativeServerEndpoint(reactor, (interface, int(port)), backlog=int(backlog))


def _client(reactor: Any, host: str, port: str, timeout: str = "30") -> NativeClientEndpoint:
    return NativeClientEndpoint(reactor, (host, int(port)), timeout=float(timeout))


def _tls_server(
    reactor: Any, port: str, cert: str, key: str, interface: str = ANY, backlog: str = "1024"
) -> NativeServerEndpoint:
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.minimum_version = ssl.TLSVersion.TLSv1_2
    context.load_cert_chain(cert, key)
    place = (interface, int(port))
    return NativeServerEndpoint(reactor, place, ssl_context=context, backlog=int(backlog))


def _unix_server(reactor: Any, path: str, backlog: str = "1024") -> NativeServerEndpoint:
    return NativeServerEndpoint(reactor, path, backlog=int(backlog))


@implementer(IPlugin, IStreamServerEndpointStringParser, IStreamClientEndpointStringParserWithReactor)
class NativeParser:
    """`native:`, plain TCP, both ways."""

    prefix = "native"

    def parseStreamServer(self, reactor: Any, *args: Any, **kwargs: Any) -> NativeServerEndpoint:
        return _server(reactor, *args, **kwargs)

    def parseStreamClient(self, reactor: Any, *args: Any, **kwargs: Any) -> NativeClientEndpoint:
        return _client(reactor, *args, **kwargs)


@implementer(IPlugin, IStreamServerEndpointStringParser)
class NativeTlsParser:
    """`nativetls:`, one certificate (chain and key, PEM), TLS 1.2 or newer."""

    prefix = "nativetls"

    def parseStreamServer(self, reactor: Any, *args: Any, **kwargs: Any) -> NativeServerEndpoint:
        return _tls_server(reactor, *args, **kwargs)


@implementer(IPlugin, IStreamServerEndpointStringParser)
class NativeUnixParser:
    """`nativeunix:`, a Unix socket."""

    prefix = "nativeunix"

    def parseStreamServer(self, reactor: Any, *args: Any, **kwargs: Any) -> NativeServerEndpoint:
        return _unix_server(reactor, *args, **kwargs)
