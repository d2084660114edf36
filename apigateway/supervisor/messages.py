"""What a supervisor and its workers say to each other, and how it is written on the wire. No I/O.

A frame: two lengths (u32, big endian), a head of JSON, a body of octets. What may be large (a configuration, figures)
is the body: whoever reads it may do that in a thread.

After an upgrade of the package, a worker that is begun again is newer than its supervisor. Traffic is to go on: so it
serves, and says in the log that the program should be replaced, as long as both write the same messages (FORMAT). Where
they do not, neither can know what the other means: it says so by Failed, and ends; those that run already go on, and
accept for it. Frames, Hello and Failed stay as they are in every version, so that this can be said.
"""

from __future__ import annotations

import hashlib
import struct
from collections.abc import Iterator
from dataclasses import dataclass, field, fields
from typing import Any

import orjson

_LENGTHS = struct.Struct("!II")
# Heads hold answers (status, upstreams); bodies a configuration, whose file has at most 32 MiB.
MAX_HEAD = 16 * 1024 * 1024
MAX_BODY = 128 * 1024 * 1024


class BadFrame(Exception):
    """What came is no message of this module."""


# ---- from the supervisor


@dataclass(frozen=True, slots=True)
class Hello:
    """The first message. version: of the package; format: see FORMAT."""

    version: str
    format: str


@dataclass(frozen=True, slots=True)
class Begin:
    """The second message: what to serve, and on which sockets.

    slot: the worker's own. number: of the configuration in the body, as config.last_good writes it. path: of its file.
    sockets: by `key_of` of the listeners, descriptors in the order of slots. accept: the slots to accept on. drained:
    see Drained.
    """

    slot: int
    number: int
    path: str
    sockets: dict[str, list[int]]
    accept: list[int]
    drained: list[list[str]] = field(default_factory=list)
    body: bytes = b""


@dataclass(frozen=True, slots=True)
class Prepare:
    """Build the configuration in the body beside the running one; answered by Prepared or Refused. What was prepared,
    or is being, is let go of.

    preparation: one more with each Prepare to this worker. number: of the configuration.
    """

    preparation: int
    number: int
    body: bytes = b""


@dataclass(frozen=True, slots=True)
class Commit:
    """Swap to what was prepared; answered by Committed."""

    preparation: int


@dataclass(frozen=True, slots=True)
class Discard:
    """Let go of what was prepared, or is being."""

    preparation: int


@dataclass(frozen=True, slots=True)
class Accept:
    """Accept on the sockets of these slots, and of no others: its own, and those of who cannot."""

    slots: list[int]


@dataclass(frozen=True, slots=True)
class Drained:
    """Choose these targets no more, and all others again. pairs: of upstream and target."""

    pairs: list[list[str]]


@dataclass(frozen=True, slots=True)
class Ask:
    """Answered by Answer. what: a method of IWorker, or "figures", or "target" (one of an upstream)."""

    id: int
    what: str
    arguments: list[Any] = field(default_factory=list)


@dataclass(frozen=True, slots=True)
class Drain:
    """Drain and end. handed_over: another program accepts already."""

    handed_over: bool = False


@dataclass(frozen=True, slots=True)
class Abort:
    """End what is left at once."""


@dataclass(frozen=True, slots=True)
class Reopen:
    """Open the log files anew."""


# ---- from a worker


@dataclass(frozen=True, slots=True)
class Ready:
    """It accepts."""

    number: int
    digest: str


@dataclass(frozen=True, slots=True)
class Failed:
    """It could not start, and ends. problems: as texts."""

    problems: list[str]


@dataclass(frozen=True, slots=True)
class Prepared:
    """It could swap at once."""

    preparation: int


@dataclass(frozen=True, slots=True)
class Refused:
    """It cannot take it. problems: as texts."""

    preparation: int
    problems: list[str]


@dataclass(frozen=True, slots=True)
class Committed:
    """What it serves after a Commit: what was prepared, or what it served before where that was let go of."""

    preparation: int
    number: int
    digest: str


@dataclass(frozen=True, slots=True)
class Answer:
    """To an Ask. missing: there is no such thing (LookupError); invalid: what was asked makes no sense (ValueError);
    error: it failed otherwise, and why."""

    id: int
    value: Any = None
    missing: str = ""
    invalid: str = ""
    error: str = ""


@dataclass(frozen=True, slots=True)
class Alive:
    """Sent twice a second, so that silence says something. number: of the running configuration."""

    number: int
    digest: str


@dataclass(frozen=True, slots=True)
class Figures:
    """All that was counted so far, in the body; see adapters.snapshot."""

    body: bytes = b""


@dataclass(frozen=True, slots=True)
class Leaving:
    """It was told by somebody else to end: it drains, and accepts no more."""


Message = (
    Hello | Begin | Prepare | Commit | Discard | Accept | Drained | Ask | Drain | Abort | Reopen
    | Ready | Failed | Prepared | Refused | Committed | Answer | Alive | Figures | Leaving
)
_KINDS: dict[str, Any] = {kind.__name__: kind for kind in Message.__args__}


def _format() -> str:
    kinds = [(name, [(one.name, str(one.type)) for one in fields(kind)]) for name, kind in sorted(_KINDS.items())]
    return hashlib.sha256(repr(kinds).encode()).hexdigest()[:16]


# The same where all kinds of messages and their fields are the same.
FORMAT = _format()


def encode(message: Message) -> bytes:
    """The frame of a message. BadFrame where it is too large."""
    # Not dataclasses.asdict, which copies all that is inside.
    values = {one.name: getattr(message, one.name) for one in fields(message)}
    body = values.pop("body", b"")
    head = orjson.dumps({"kind": type(message).__name__, **values}, repr, orjson.OPT_NON_STR_KEYS)
    if len(head) > MAX_HEAD or len(body) > MAX_BODY:
        raise BadFrame(f"{type(message).__name__} is too large: {len(head)} and {len(body)} octets")
    return b"".join((_LENGTHS.pack(len(head), len(body)), head, body))


class Decoder:
    """Messages from octets that come in any pieces."""

    def __init__(self) -> None:
        self._buffer = bytearray()

    def feed(self, octets: bytes) -> Iterator[Message]:
        """The messages that are complete by now. Raises BadFrame; the stream is worth nothing after that."""
        self._buffer += octets
        while len(self._buffer) >= _LENGTHS.size:
            head, body = _LENGTHS.unpack_from(self._buffer)
            if head > MAX_HEAD or body > MAX_BODY:
                raise BadFrame(f"a frame of {head} and {body} octets")
            end = _LENGTHS.size + head + body
            if len(self._buffer) < end:
                return
            frame = bytes(memoryview(self._buffer)[_LENGTHS.size : end])
            del self._buffer[:end]
            yield _message(frame[:head], frame[head:])


def _message(head: bytes, body: bytes) -> Message:
    try:
        values = orjson.loads(head)
        kind = _KINDS[values.pop("kind")]
        if body and not any(one.name == "body" for one in fields(kind)):
            raise BadFrame(f"{kind.__name__} has no body")
        message: Message = kind(**values, **({"body": body} if body else {}))
    except (ValueError, LookupError, TypeError, AttributeError) as error:
        raise BadFrame(f"no message: {error}") from error
    return message
