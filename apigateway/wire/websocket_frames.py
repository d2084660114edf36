"""Where the frames of a WebSocket begin and end (RFC 6455 5.2): headers are read, payload is counted and left alone."""

from __future__ import annotations

from typing import Final

CLOSE: Final = 0x8

# Close codes (RFC 6455 7.4.1).
GOING_AWAY: Final = 1001
PROTOCOL_ERROR: Final = 1002
INTERNAL_ERROR: Final = 1011

_FIN: Final = 0x80
_RESERVED_BITS: Final = 0x70
_MASK: Final = 0x80
_CONTROL: Final = 0x8
_BINARY: Final = 0x2
_PONG: Final = 0xA
_MASKING_KEY: Final = 4

# What `_end_of` says instead of a position.
_INCOMPLETE: Final = -1
_BROKEN: Final = -2


class FrameFollower:
    """Follows the frames that one side sends, over chunks of any size.

    `feed` gives back what may be passed on. The last octets of a chunk that are only the beginning of a frame's header
    (fewer than ten) are kept until the header is whole, so that what was passed on always ends inside of a payload or
    at a border, and never inside of a header.

    left: octets to come of the frame that was begun; 0 at a border, where a control frame may be put in, also between
        the fragments of a message (RFC 6455 5.4, 5.5).
    fragmented: the message is not over at the next border.
    closed: a Close frame was begun, or is through where `left` is 0. Nothing may follow it (RFC 6455 5.5.1): what
        does is dropped.
    violation: what broke the framing, or "". The frame that did, and all behind it, is not passed on.

    Frames from a client have to be masked, those to it must not be (5.1). Reserved bits and opcodes are what extensions
    define: they pass where one was agreed on (extended), since nobody but the endpoints knows what they mean.
    Payload stays unseen: the text of messages, and close codes, are between the endpoints.
    """

    __slots__ = ("_extended", "_held", "_masked", "closed", "fragmented", "left", "violation")

    def __init__(self, masked: bool, extended: bool) -> None:
        self._masked = masked
        self._extended = extended
        self._held = b""
        self.left = 0
        self.fragmented = False
        self.closed = False
        self.violation = ""

    def feed(self, data: bytes) -> bytes:
        """Follow a chunk; what of it, and of what was kept, may be passed on: most often the chunk itself."""
        left = self.left - len(data)
        if left > 0:
            self.left = left
            return data
        if self.violation:
            return b""
        return self._follow(data)

    def _follow(self, data: bytes) -> bytes:
        """Frame by frame through a chunk that reaches a border."""
        if self._held:
            data = self._held + data
            self._held = b""
        at, size = self.left, len(data)
        while at < size and not self.closed:
            end = self._end_of(data, at, size)
            if end < 0:
                self.left = 0
                if end == _INCOMPLETE:
                    self._held = data[at:]
                return data[:at]
            at = end
        if at >= size:
            self.left = at - size
            return data
        self.left = 0
        return data[:at]

    def _end_of(self, data: bytes, at: int, size: int) -> int:
        """Where the frame ends that begins at `at`, beyond the chunk or in it; or _INCOMPLETE, or _BROKEN."""
        if size - at < 2:
            return _INCOMPLETE
        first, second = data[at], data[at + 1]
        length = second & 0x7F
        self.violation = self._wrong(first, second, length)
        if self.violation:
            return _BROKEN
        at += 2
        if length >= 126:
            octets = 2 if length == 126 else 8
            if size - at < octets:
                return _INCOMPLETE
            length = int.from_bytes(data[at : at + octets], "big")
            at += octets
            # Both MUSTs of RFC 6455 5.2.
            if length >> 63:
                self.violation = "a length of 64 bits"
                return _BROKEN
            if length < (126 if octets == 2 else 0x10000):
                self.violation = "a length that is not written in the shortest way"
                return _BROKEN
        opcode = first & 0x0F
        if opcode < _CONTROL:
            self.fragmented = first < _FIN
        elif opcode == CLOSE:
            self.closed = True
        return at + length + _MASKING_KEY if self._masked else at + length

    def _wrong(self, first: int, second: int, length: int) -> str:
        """What is wrong with the first two octets of a frame, or ""."""
        opcode = first & 0x0F
        if (second >= _MASK) != self._masked:
            return "a frame that is not masked" if self._masked else "a frame that is masked"
        if not self._extended:
            if first & _RESERVED_BITS:
                return "reserved bits without an extension"
            if _BINARY < opcode < _CONTROL or opcode > _PONG:
                return "a reserved opcode without an extension"
        if opcode >= _CONTROL:
            if first < _FIN:
                return "a control frame in fragments"
            if length > 125:
                return "a control frame of more than 125 octets"
        elif (opcode == 0) != self.fragmented:
            return "a message inside of another" if opcode else "the continuation of no message"
        return ""


def close_frame(code: int, key: bytes = b"") -> bytes:
    """A Close frame with a code. key: the masking key, four octets nobody can predict, towards a server (RFC 6455
    5.3); none towards a client."""
    if not key:
        return b"\x88\x02" + code.to_bytes(2, "big")
    return b"\x88\x82" + key + bytes(((code >> 8) ^ key[0], (code & 0xFF) ^ key[1]))
