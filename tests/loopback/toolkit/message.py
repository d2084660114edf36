"""Messages of HTTP/1 as the tests read them: a reader of its own, so that the product's is not its own judge."""

from __future__ import annotations

import json
from dataclasses import dataclass, field
from typing import Any

from toolkit.stream import Stream
from toolkit.waiting import PATIENCE

Fields = list[tuple[str, str]]


@dataclass
class Message:
    """A head and what followed it. start: the first line. fields: names in lower case, in order."""

    start: str
    fields: Fields
    raw: bytes = b""
    body: bytes = b""
    trailers: Fields = field(default_factory=list)

    def get(self, name: str) -> str | None:
        """The one value of a field; None where there is none; an AssertionError for two lines."""
        values = self.all(name)
        assert len(values) < 2, f"{name} came {len(values)} times: {values}"
        return values[0] if values else None

    def all(self, name: str) -> list[str]:
        """The values of a field, line by line."""
        return [value for known, value in self.fields if known == name.lower()]

    @property
    def names(self) -> list[str]:
        return [name for name, _ in self.fields]

    @property
    def json(self) -> Any:
        return json.loads(self.body)


@dataclass
class Answer(Message):
    """A response. interim: the 1xx before it."""

    interim: list[Message] = field(default_factory=list)

    @property
    def status(self) -> int:
        return int(self.start.split(" ")[1])

    @property
    def kind(self) -> str:
        """The end of the type of a problem+json."""
        assert self.get("content-type") == "application/problem+json", self
        return str(self.json["type"]).rsplit("/", 1)[1]


def split_head(raw: bytes) -> tuple[str, Fields]:
    """The first line and the fields of a head."""
    start, *lines = raw.decode("latin-1").rstrip("\r\n").split("\r\n")
    pairs = [line.partition(":") for line in lines]
    return start, [(name.lower(), value.strip(" \t")) for name, _, value in pairs]


async def read_body(stream: Stream, message: Message, *, answer: bool, within: float = PATIENCE) -> None:
    """Read what follows a head, by RFC 9112 6.3; fills body and trailers."""
    if (message.get("transfer-encoding") or "").lower() == "chunked":
        await _read_chunked(stream, message, within)
        return
    length = message.get("content-length")
    if length is not None:
        message.body = await stream.exactly(int(length), within)
    elif answer:
        message.body = await stream.rest(within)


async def _read_chunked(stream: Stream, message: Message, within: float) -> None:
    pieces = []
    while size := await read_chunk_size(stream, within):
        pieces.append(await stream.exactly(size, within))
        assert await stream.exactly(2, within) == b"\r\n"
    message.body = b"".join(pieces)
    message.trailers = await read_trailers(stream, within)


async def read_chunk_size(stream: Stream, within: float = PATIENCE) -> int:
    """The size of the next chunk, 0 for the last."""
    return int((await stream.past(b"\r\n", within)).partition(b";")[0], 16)


async def read_trailers(stream: Stream, within: float = PATIENCE) -> Fields:
    """The fields after the last chunk."""
    trailers: Fields = []
    while (line := await stream.past(b"\r\n", within)) != b"\r\n":
        trailers += split_head(b"\r\n" + line)[1]
    return trailers
