"""Endpoint strings."""

from __future__ import annotations

import ssl
from pathlib import Path
from typing import Any

import pytest
import trustme
from peers import Echo, Recorder, RecordingFactory, Sockets
from pytest_twisted import ensureDeferred
from twisted.internet import reactor
from twisted.internet.interfaces import (
    IStreamClientEndpointStringParserWithReactor,
    IStreamServerEndpointStringParser,
)
from zope.interface.verify import verifyObject

from apigateway.transport.parsers import NativeParser, NativeTlsParser, NativeUnixParser


async def echoes(sockets: Sockets, endpoint: Any, **options: Any) -> bytes:
    factory = RecordingFactory(Echo)
    port = await endpoint.listen(factory)
    sockets.ports.append((port, factory))
    there = await sockets.connect(port, **options)
    there.transport.write(b"parsed")
    received: bytes = await there.until(6)
    return received


@ensureDeferred
async def test_native(sockets: Sockets) -> None:
    assert await echoes(sockets, NativeParser().parseStreamServer(reactor, "0", interface="127.0.0.1"))


@ensureDeferred
async def test_native_listens_on_every_interface_unless_told(sockets: Sockets) -> None:
    port = await NativeParser().parseStreamServer(reactor, "0").listen(RecordingFactory(Echo))
    assert port.getHost().host == "0.0.0.0"
    await port.stopListening()


@ensureDeferred
async def test_native_client(sockets: Sockets) -> None:
    port, _ = await sockets.serve(Echo)
    endpoint = NativeParser().parseStreamClient(
        reactor, host="127.0.0.1", port=str(port.getHost().port), timeout="2"
    )
    there: Any = await endpoint.connect(RecordingFactory(Recorder))
    sockets.clients.append(there)
    there.transport.write(b"hello")
    assert await there.until(5) == b"hello"


@ensureDeferred
async def test_nativetls(
    sockets: Sockets, authority: trustme.CA, client_tls: ssl.SSLContext, tmp_path: Path
) -> None:
    pair = authority.issue_cert("a.test")
    cert, key = str(tmp_path / "a.pem"), str(tmp_path / "a.key")
    pair.cert_chain_pems[0].write_to_path(cert)
    pair.private_key_pem.write_to_path(key)
    endpoint = NativeTlsParser().parseStreamServer(reactor, "0", cert=cert, key=key, interface="127.0.0.1")
    assert await echoes(sockets, endpoint, ssl_context=client_tls, server_hostname="a.test") == b"parsed"


@ensureDeferred
async def test_nativeunix(sockets: Sockets, tmp_path: Path) -> None:
    endpoint = NativeUnixParser().parseStreamServer(reactor, str(tmp_path / "a.sock"))
    assert await echoes(sockets, endpoint) == b"parsed"


@pytest.mark.parametrize("parser", [NativeParser(), NativeTlsParser(), NativeUnixParser()])
def test_parsers_are_what_twisted_looks_for(parser: Any) -> None:
    assert verifyObject(IStreamServerEndpointStringParser, parser)
    assert parser.prefix.startswith("native")


def test_the_plain_one_parses_clients() -> None:
    assert verifyObject(IStreamClientEndpointStringParserWithReactor, NativeParser())


def test_a_wrong_string_is_refused() -> None:
    with pytest.raises(ValueError, match="eighty"):
        NativeParser().parseStreamServer(reactor, "eighty")
    with pytest.raises(TypeError):
        NativeParser().parseStreamServer(reactor, "80", colour="red")
