"""As much of HTTP/1.1 as the demo's services need: a request read from a stream, an answer written to one.

A stand-in for the APIs of other people. The gateway itself reads and writes by `apigateway.wire`.
"""

from __future__ import annotations

import json
from asyncio import IncompleteReadError, LimitOverrunError, StreamReader, StreamWriter
from collections.abc import AsyncIterator
from dataclasses import dataclass
from http import HTTPStatus
from typing import Any
from urllib.parse import parse_qsl, unquote, urlsplit

PIECE = 64 * 1024


@dataclass(slots=True)
class DemoRequest:
    """One request. path is decoded; fields have lower-case names, the last one of a name counts."""

    method: str
    target: str
    path: str
    query: dict[str, str]
    fields: dict[str, str]
    reader: StreamReader
    writer: StreamWriter
    body_done: bool = False

    async def body(self) -> AsyncIterator[bytes]:
        """The body, piece by piece, once."""
        if self.body_done:
            return
        self.body_done = True
        if self.fields.get("expect", "").lower() == "100-continue":
            self.writer.write(b"HTTP/1.1 100 Continue\r\n\r\n")
        if self.fields.get("transfer-encoding", "").lower() != "chunked":
            async for piece in self._octets(int(self.fields.get("content-length", "0"))):
                yield piece
            return
        while size := int((await self.reader.readline()).split(b";")[0], 16):
            async for piece in self._octets(size):
                yield piece
            await self.reader.readline()
        trailer = b"-"
        while trailer.strip():
            trailer = await self.reader.readline()

    async def skip_body(self) -> None:
        """Read what nobody asked for, so that the next request can be read."""
        async for _ in self.body():
            continue

    async def _octets(self, count: int) -> AsyncIterator[bytes]:
        while count:
            piece = await self.reader.read(min(count, PIECE))
            if not piece:
                raise IncompleteReadError(b"", count)
            count -= len(piece)
            yield piece

    def number(self, name: str, default: int, most: int) -> int:
        """A number of the query, within 0 and `most`."""
        text = self.query.get(name, "")
        return max(0, min(int(text), most)) if text.isascii() and text.isdigit() else default

    async def answer(self, status: int, body: bytes, media_type: str = "application/json") -> None:
        """Answer with a body of known length."""
        head = f"Content-Type: {media_type}\r\nContent-Length: {len(body)}\r\n"
        self.begin(status, head)
        if self.method != "HEAD":
            self.writer.write(body)
        await self.writer.drain()

    async def answer_json(self, status: int, value: Any) -> None:
        """Answer with JSON and a line end, for terminals."""
        await self.answer(status, json.dumps(value).encode() + b"\n")

    def begin(self, status: int, fields: str) -> None:
        """Write the head; fields: lines, each with its end."""
        try:
            phrase = HTTPStatus(status).phrase
        except ValueError:
            phrase = "Unknown"
        self.writer.write(f"HTTP/1.1 {status} {phrase}\r\n{fields}\r\n".encode("latin-1"))


async def read_request(reader: StreamReader, writer: StreamWriter) -> DemoRequest | None:
    """The next request of a connection; None at its end, and for what is none."""
    try:
        head = (await reader.readuntil(b"\r\n\r\n")).decode("latin-1")
    except (IncompleteReadError, LimitOverrunError, ConnectionError):
        return None
    first, *lines = head.split("\r\n")[:-2]
    parts = first.split(" ")
    if len(parts) != 3:
        return None
    fields = {name.strip().lower(): value.strip() for name, _, value in (line.partition(":") for line in lines)}
    split = urlsplit(parts[1])
    return DemoRequest(
        parts[0], parts[1], unquote(split.path), dict(parse_qsl(split.query)), fields, reader, writer
    )
