"""Clients that ask all the time, in a thread of their own, and look at every answer."""

from __future__ import annotations

import asyncio
import re
import time
from collections.abc import Callable
from threading import Event, Thread
from typing import cast

_LENGTH = re.compile(rb"\r\ncontent-length: ([0-9]+)\r\n")
REQUEST = b"GET /a HTTP/1.1\r\nHost: gw.test\r\n\r\n"
PATIENCE = 60.0


def wait_until(condition: Callable[[], object], what: Callable[[], str], within: float = PATIENCE) -> None:
    """Wait for what other threads and processes bring about."""
    pause, end = Event(), time.monotonic() + within
    while not condition():
        assert time.monotonic() < end, f"not within {within:g} s: {what()}"
        pause.wait(0.005)


class Load:
    """So many connections to an address, each asking again as soon as it has its answer.

    check: what is wrong with the head and the body of an answer, or "". answers: complete ones. failures: everything
    that went wrong, up to a hundred. refused: connections that were not let in, or that were let go before the first
    octet of an answer to their first request; each with the moments (monotonic) when it was begun and when it ended.
    A client whose answer says `Connection: close`, or that was let go between two requests, connects anew; one that
    was refused asks no more.
    """

    def __init__(self, address: tuple[str, int], connections: int, check: Callable[[bytes, bytes], str]) -> None:
        self.address = address
        self.check = check
        self.answers = 0
        self.reconnected = 0
        self.failures: list[str] = []
        self.refused: list[tuple[float, float]] = []
        self.over = False
        self._connections = connections
        self._thread = Thread(target=lambda: asyncio.run(self._run()), daemon=True)

    def start(self) -> None:
        self._thread.start()

    def wait_for(self, answers: int) -> None:
        """Wait until there are so many answers; an assertion where that takes too long, or something went wrong."""
        wait_until(lambda: self.answers >= answers or self.failures, lambda: f"{self.answers} of {answers} answers")
        assert not self.failures, self.failures

    def stop(self) -> None:
        """Ask no more; return when every answer that is due is there."""
        self.over = True
        self.join()

    def join(self) -> None:
        """Wait until nobody asks any more."""
        self._thread.join(PATIENCE)
        assert not self._thread.is_alive(), f"answers that do not come; {self.failures}"

    async def _run(self) -> None:
        await asyncio.gather(*(self._client() for _ in range(self._connections)))

    async def _client(self) -> None:
        loop = asyncio.get_running_loop()
        while not self.over:
            began = time.monotonic()
            try:
                _, asking = await loop.create_connection(lambda: Asking(self), *self.address)
            except OSError:
                self.refused.append((began, time.monotonic()))
                return
            await asking.gone
            if not asking.answered and not self.over:
                self.refused.append((began, time.monotonic()))
                return
            self.reconnected += not self.over

    def answered(self, head: bytes, body: bytes) -> None:
        self.answers += 1
        if wrong := self.check(head, body):
            self.failed(wrong)

    def failed(self, what: str) -> None:
        if len(self.failures) < 100:
            self.failures.append(what)


class Asking(asyncio.Protocol):
    """One connection. answered: whether it had an answer. gone: done when it has ended."""

    def __init__(self, load: Load) -> None:
        self.answered = False
        self.gone: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        self._load = load
        self._unread = b""
        self._told = False

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self._transport = cast(asyncio.Transport, transport)
        self._transport.write(REQUEST)

    def data_received(self, data: bytes) -> None:
        unread = self._unread = self._unread + data if self._unread else data
        end = unread.find(b"\r\n\r\n")
        if end < 0:
            return
        length = _LENGTH.search(unread, 0, end + 2)
        if length is None:
            self._load.failed(f"no length: {unread[:200]!r}")
            self._transport.close()
            return
        whole = end + 4 + int(length[1])
        if len(unread) < whole:
            return
        if len(unread) > whole:
            self._load.failed(f"more than was asked for: {unread[whole:][:200]!r}")
        self._unread = b""
        self.answered = True
        head = unread[: end + 2]
        self._load.answered(head, unread[end + 4 : whole])
        self._told = b"\r\nconnection: close\r\n" in head
        if self._told:
            return  # the gateway closes
        if self._load.over:
            self._told = True
            self._transport.close()
        else:
            self._transport.write(REQUEST)

    def connection_lost(self, exc: Exception | None) -> None:
        if self._unread:
            self._load.failed(f"cut off inside an answer: {self._unread[:200]!r} ({exc})")
        elif self.answered and not self._told:
            self._load.failed(f"let go, although it had not been told to come anew ({exc})")
        self.gone.set_result(None)
