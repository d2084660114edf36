"""The request body of an exchange on its way: held, buffered, passed on, and kept to be sent again."""

from __future__ import annotations

from collections.abc import Sequence

from apigateway.flow.exchange import Exchange
from apigateway.flow.plan import Entry
from apigateway.flow.steps import StepInfo
from apigateway.wire.headers import Headers


class Upload:
    """Exists only where a request announces a body.

    held: pieces that came before anybody could take them (the client is paused then).
    kept: pieces passed on so far, after the steps saw them, to be sent again; None once they grew past `keep_most`.
    complete: the end came. expecting: the client still waits for a 100. buffer_most: whole body wanted, at most so
    many octets; -1: not wanted. blocked: the upstream takes no more for now. at: the step that sees a piece.
    """

    __slots__ = (
        "at", "blocked", "buffer_most", "complete", "expecting", "held", "hooks", "keep_most", "kept", "kept_size",
        "last_seen", "size", "trailers",
    )

    def __init__(self, expecting: bool) -> None:
        self.held: list[bytes] = []
        self.kept: list[bytes] | None = []
        self.kept_size = self.size = 0
        self.buffer_most = -1
        self.keep_most = 0
        self.complete = self.last_seen = self.blocked = False
        self.at: StepInfo | None = None
        self.expecting = expecting
        self.hooks: Sequence[Entry] = ()
        self.trailers: Headers | None = None

    def hold(self, chunk: bytes) -> None:
        """Put a piece by."""
        self.held.append(chunk)
        self.size += len(chunk)

    def too_large(self) -> bool:
        """Whether what is held is more than may be buffered."""
        return self.size > self.buffer_most

    def whole(self) -> bytes:
        """All that was held, as one."""
        data = b"".join(self.held)
        self.held = []
        return data

    def through(self, exchange: Exchange, chunk: bytes, last: bool) -> bytes:
        """The piece as the streaming steps leave it; kept for another attempt. Raises what a step raises."""
        for entry in self.hooks:
            self.at = entry.info
            chunk = entry.hook(exchange, chunk, last)
        self.last_seen = last
        if chunk and self.kept is not None:
            self.kept_size += len(chunk)
            if self.kept_size > self.keep_most:
                self.kept = None
            else:
                self.kept.append(chunk)
        return chunk

    @property
    def replayable(self) -> bool:
        """Whether all that was passed on can be sent again."""
        return self.kept is not None


def standing(entries: Sequence[Entry], gates: int, reached: int) -> Sequence[Entry]:
    """The entries whose gates were passed and whose step was reached."""
    return tuple(entry for entry in entries if entry.index <= reached and gates & entry.mask == entry.mask)


