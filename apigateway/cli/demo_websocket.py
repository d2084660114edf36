"""As much of WebSocket (RFC 6455) as the demo needs: a service that echoes, and a client to try it with.

`python -m apigateway.cli.demo_websocket ws://127.0.0.1:8080/live/ws hello` sends one text and prints the echo.
"""

from __future__ import annotations

import asyncio
import base64
import hashlib
import os
from asyncio import IncompleteReadError, StreamReader
from urllib.parse import urlsplit

import click

from apigateway.cli.demo_requests import DemoRequest

GUID = b"258EAFA5-E914-47DA-95CA-C5AB0DC85B11"
TEXT, CLOSE, PING, PONG = 0x1, 0x8, 0x9, 0xA
LONGEST = 1024 * 1024


def accept_value(key: str) -> str:
    """What Sec-WebSocket-Accept says to a key (RFC 6455 4.2.2)."""
    return base64.b64encode(hashlib.sha1(key.encode("latin-1") + GUID).digest()).decode()


async def echo(request: DemoRequest) -> None:
    """Answer the handshake, then send back every frame until the client closes."""
    key = request.fields.get("sec-websocket-key")
    if key is None or request.fields.get("upgrade", "").lower() != "websocket":
        await request.answer_json(426, {"error": "this is a WebSocket"})
        return
    request.begin(101, f"Upgrade: websocket\r\nConnection: Upgrade\r\nSec-WebSocket-Accept: {accept_value(key)}\r\n")
    await request.writer.drain()
    while True:
        first, payload = await read_frame(request.reader)
        opcode = first & 0x0F
        request.writer.write(frame(PONG | 0x80 if opcode == PING else first, payload))
        await request.writer.drain()
        if opcode == CLOSE:
            return


async def read_frame(reader: StreamReader) -> tuple[int, bytes]:
    """The first octet (FIN and opcode) of the next frame, and its payload, unmasked (RFC 6455 5.2)."""
    first, second = await reader.readexactly(2)
    length = second & 0x7F
    if length >= 126:
        length = int.from_bytes(await reader.readexactly(2 if length == 126 else 8))
    if length > LONGEST:
        raise IncompleteReadError(b"", length)
    mask = await reader.readexactly(4) if second & 0x80 else b""
    payload = await reader.readexactly(length)
    return first, _masked(payload, mask) if mask else payload


def frame(first: int, payload: bytes, mask: bytes = b"") -> bytes:
    """A frame; mask: 4 octets, from clients."""
    length, flag = len(payload), 0x80 if mask else 0
    if length < 126:
        head = bytes((first, flag | length))
    elif length < 65536:
        head = bytes((first, flag | 126)) + length.to_bytes(2)
    else:
        head = bytes((first, flag | 127)) + length.to_bytes(8)
    return head + mask + (_masked(payload, mask) if mask else payload)


def _masked(payload: bytes, mask: bytes) -> bytes:
    return bytes(octet ^ mask[index % 4] for index, octet in enumerate(payload))


async def send_and_receive(url: str, text: str) -> str:
    """Open a WebSocket, send one text, and return the first that comes back. ConnectionError where refused."""
    parts = urlsplit(url)
    reader, writer = await asyncio.open_connection(parts.hostname, parts.port or 80)
    try:
        key = base64.b64encode(os.urandom(16)).decode()
        writer.write(
            f"GET {parts.path or '/'} HTTP/1.1\r\nHost: {parts.netloc}\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n"
            f"Sec-WebSocket-Version: 13\r\nSec-WebSocket-Key: {key}\r\n\r\n".encode()
        )
        head = (await reader.readuntil(b"\r\n\r\n")).decode("latin-1")
        if " 101 " not in head.split("\r\n")[0] or accept_value(key) not in head:
            raise ConnectionError(head.split("\r\n")[0])
        writer.write(frame(TEXT | 0x80, text.encode(), os.urandom(4)))
        _, payload = await read_frame(reader)
        writer.write(frame(CLOSE | 0x80, (1000).to_bytes(2), os.urandom(4)))
        await writer.drain()
        return payload.decode()
    finally:
        writer.close()


@click.command()
@click.argument("url")
@click.argument("text")
def main(url: str, text: str) -> None:
    """Send TEXT to a WebSocket that echoes, and print what comes back within ten seconds."""

    async def talk() -> str:
        async with asyncio.timeout(10):
            return await send_and_receive(url, text)

    try:
        click.echo(asyncio.run(talk()))
    except (OSError, IncompleteReadError) as error:  # a timeout is an OSError, too
        raise click.ClickException(str(error) or "no answer in time") from error


if __name__ == "__main__":
    main()
