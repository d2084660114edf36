"""WebSocket as octets: the handshake, and frames by RFC 6455 5.2, right ones and wrong ones."""

from __future__ import annotations

from dataclasses import dataclass

from toolkit.stream import Stream
from toolkit.waiting import PATIENCE

UPGRADE = (
    "Upgrade: websocket",
    "Connection: Upgrade",
    "Sec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==",
    "Sec-WebSocket-Version: 13",
)
SWITCH = (
    b"HTTP/1.1 101 Switching Protocols\r\nUpgrade: websocket\r\nConnection: Upgrade\r\nX-From: origin\r\n\r\n"
)
CONTINUATION, TEXT, BINARY, CLOSE, PING, PONG = 0x0, 0x1, 0x2, 0x8, 0x9, 0xA
# A client's frames have to be masked; with this key they can be read all the same.
PLAIN = bytes(4)


def frame(payload: bytes = b"", opcode: int = BINARY, *, fin: bool = True, key: bytes | None = None) -> bytes:
    """A frame; masked where there is a key."""
    size = len(payload)
    mask = 0 if key is None else 0x80
    if size < 126:
        length = bytes([mask | size])
    elif size < 1 << 16:
        length = bytes([mask | 126]) + size.to_bytes(2, "big")
    else:
        length = bytes([mask | 127]) + size.to_bytes(8, "big")
    return bytes([(0x80 if fin else 0) | opcode]) + length + (payload if key is None else key + masked(payload, key))


def said(payload: bytes = b"", opcode: int = BINARY, *, fin: bool = True) -> bytes:
    """A frame as a client sends it."""
    return frame(payload, opcode, fin=fin, key=PLAIN)


def masked(payload: bytes, key: bytes) -> bytes:
    """Masked, or unmasked (RFC 6455 5.3)."""
    return bytes(octet ^ key[place % 4] for place, octet in enumerate(payload)) if any(key) else payload


@dataclass(frozen=True)
class Frame:
    """A frame as it came, with its payload unmasked. masked: it came masked."""

    opcode: int
    payload: bytes
    fin: bool = True
    masked: bool = False

    @property
    def code(self) -> int:
        """Of a Close."""
        assert self.opcode == CLOSE, self
        return int.from_bytes(self.payload[:2], "big")


async def next_frame(stream: Stream, within: float = PATIENCE) -> Frame:
    """The next frame that comes."""
    first, second = await stream.exactly(2, within)
    size = second & 0x7F
    if size > 125:
        size = int.from_bytes(await stream.exactly(2 if size == 126 else 8, within), "big")
    key = await stream.exactly(4, within) if second & 0x80 else PLAIN
    payload = masked(await stream.exactly(size, within), key)
    return Frame(first & 0x0F, payload, bool(first & 0x80), bool(second & 0x80))
