"""A file that lines go to by way of a thread, so that a slow disk or a stuck pipe never holds the reactor."""

from __future__ import annotations

import os
import select
import stat
from collections.abc import Callable, Iterator
from queue import SimpleQueue
from threading import Lock, Thread
from typing import Any, Protocol

from twisted.internet.defer import Deferred, succeed

STANDARD_OUTPUT = "-"
# What may wait for the thread: some seconds of a busy worker's lines.
CAPACITY = 8 * 1024 * 1024
CLOSE_TIMEOUT = 5.0
_MODE = 0o640
_LINE_FEED = 0x0A


class Sink(Protocol):
    """Where whole lines go.

    lost: lines that never got there. trouble: why the last ones did not, "" when they did.
    """

    @property
    def lost(self) -> int: ...

    @property
    def trouble(self) -> str: ...

    def write(self, octets: bytes, lines: int = 1) -> None:
        """Have whole lines written; at once, from any thread, and without raising."""

    def reopen(self) -> None:
        """Go on in a new file."""

    def close(self) -> Deferred[None]:
        """Fires when what waited is written."""


class LogFile:
    """Lines on their way to a file, or to standard output.

    What does not fit into `capacity` octets of waiting lines, and what the file does not take (disk full,
    reader gone), is dropped and counted in `lost`; nothing is ever raised to who writes. A line that was cut
    by a full disk is ended before the next one begins, so that it spoils no other.
    path: "-" is standard output. OSError where the file cannot be opened.
    trouble: what the file said when it last refused, "" once it takes lines again.
    reactor: has callFromThread and callLater.
    shared: other processes write there, too. A file takes whole writes one after the other (O_APPEND). A pipe takes
    only so much at once as is not mixed with what others write (PIPE_BUF, pipe(7)): it gets whole lines, few at once.
    So does a socket (the standard output that systemd gives): it takes a long write in pieces of 32 KiB or so.
    """

    def __init__(
        self, path: str, reactor: Any, *, capacity: int = CAPACITY, close_timeout: float = CLOSE_TIMEOUT,
        shared: bool = False,
    ) -> None:
        self.path = path
        self.trouble = ""
        self._reactor = reactor
        self._capacity = capacity
        self._close_timeout = close_timeout
        self._shared = shared
        self._descriptor = _open(path)
        self._items: SimpleQueue[tuple[bytes, int] | Callable[[], None] | None] = SimpleQueue()
        self._thread: Thread | None = None
        self._lock = Lock()
        # Each of these is written on one side only: by who writes (under the lock), or by the thread.
        self._taken = self._refused = 0
        self._done = self._failed = 0
        self._torn = False
        self._closed: Deferred[None] | None = None

    @property
    def lost(self) -> int:
        """Lines that were never written."""
        return self._refused + self._failed

    def write(self, octets: bytes, lines: int = 1) -> None:
        """Have whole lines written, each with its line feed; from any thread, at once."""
        with self._lock:
            if self._closed is not None or self._taken - self._done + len(octets) > self._capacity:
                self._refused += lines
                return
            self._taken += len(octets)
            self._put((octets, lines))

    def reopen(self) -> None:
        """Go on in a new file of the same path (the old one was moved away), after the lines that wait."""
        with self._lock:
            if self._closed is None and self.path != STANDARD_OUTPUT:
                self._put(self._open_again)

    def close(self) -> Deferred[None]:
        """Write what waits, then close; fires when that is done, or after 5 s, what is left then lost."""
        with self._lock:
            if self._closed is not None:
                return succeed(None)
            self._closed = Deferred()
            if self._thread is None:
                self._shut()
                return succeed(None)
            self._items.put(None)
        timeout = self._reactor.callLater(self._close_timeout, self._finished)
        self._closed.addBoth(lambda _: timeout.cancel() if timeout.active() else None)
        return self._closed

    def _put(self, item: tuple[bytes, int] | Callable[[], None]) -> None:
        # Not before the first line: twistd forks after the files are opened, and threads do not come along.
        if self._thread is None:
            self._thread = Thread(target=self._run, name=f"log {self.path}", daemon=True)
            self._thread.start()
        self._items.put(item)

    def _finished(self) -> None:
        if self._closed is not None and not self._closed.called:
            self._closed.callback(None)

    # ---- in the thread

    def _run(self) -> None:
        while (item := self._items.get()) is not None:
            if isinstance(item, tuple):
                octets, lines = item
                if self._shared and len(octets) > select.PIPE_BUF and _mixes(self._descriptor):
                    for part in whole_lines(octets, select.PIPE_BUF):
                        self._write(part, part.count(b"\n"))
                else:
                    self._write(octets, lines)
            else:
                item()
        self._shut()
        self._reactor.callFromThread(self._finished)

    def _write(self, octets: bytes, lines: int) -> None:
        text = b"\n" + octets if self._torn else octets
        written = 0
        try:
            while written < len(text):
                written += self._write_some(text[written:] if written else text)
                self._torn = text[written - 1] != _LINE_FEED if written else self._torn
            self.trouble = ""
        except OSError as error:
            self._failed += min(lines, text.count(b"\n", written))
            self.trouble = str(error)
        self._done += len(octets)

    def _write_some(self, octets: bytes) -> int:
        try:
            return os.write(self._descriptor, octets)
        except BlockingIOError:
            poll = select.poll()
            poll.register(self._descriptor, select.POLLOUT)
            poll.poll(1000)
            return 0

    def _open_again(self) -> None:
        try:
            descriptor = _open(self.path)
        except OSError as error:
            self.trouble = str(error)
            return
        self._shut()
        self._descriptor = descriptor
        self._torn = False

    def _shut(self) -> None:
        if self.path != STANDARD_OUTPUT:
            try:
                os.close(self._descriptor)
            except OSError as error:  # what a file system elsewhere did not take after all: it is closed even so
                self.trouble = str(error)


def whole_lines(octets: bytes, most: int) -> Iterator[bytes]:
    """The lines in groups of at most `most` octets; a longer line is a group of its own."""
    start = 0
    while start < len(octets):
        end = start + most
        if end < len(octets):
            cut = octets.rfind(b"\n", start, end)
            end = cut + 1 if cut >= 0 else (octets.find(b"\n", end) + 1 or len(octets))
        yield octets[start:end]
        start = end


def _mixes(descriptor: int) -> bool:
    """Whether a long write is mixed with those of others. Not where there is nothing: to write there says so."""
    try:
        mode = os.fstat(descriptor).st_mode
    except OSError:
        return False
    return stat.S_ISFIFO(mode) or stat.S_ISSOCK(mode)


def _open(path: str) -> int:
    if path == STANDARD_OUTPUT:
        return 1
    # Non-blocking: opening a named pipe that nobody reads would else stop the program. Files do not care.
    return os.open(path, os.O_WRONLY | os.O_APPEND | os.O_CREAT | os.O_CLOEXEC | os.O_NONBLOCK, _MODE)
