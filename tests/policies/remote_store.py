"""A store that is somewhere else: it answers when it is told to, or not at all."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from twisted.internet.defer import Deferred, fail
from zope.interface import implementer

from apigateway.ports.interfaces import IStateStore, StoreUnavailable
from apigateway.ports.memory import ManualClock, MemoryStore


@implementer(IStateStore)
class RemoteStore:
    """A memory store behind Deferreds.

    asked: every call, (name, arguments). down: "later" fails Deferreds, "at once" raises; "": it works. waits: an
    answer comes only by `answer()`; what was asked happens then, unless the Deferred was cancelled before, and even
    then where `deaf` says that the other side never hears of that.
    """

    shared = True

    def __init__(self, clock: ManualClock) -> None:
        self.memory = MemoryStore(clock)
        self.asked: list[tuple[str, tuple[Any, ...]]] = []
        self.down = ""
        self.waits = False
        self.deaf = False
        self._waiting: list[tuple[Deferred[Any], Callable[[], Any]]] = []

    def named(self, name: str) -> list[tuple[Any, ...]]:
        """The arguments of the calls of this name."""
        return [arguments for called, arguments in self.asked if called == name]

    def answer(self) -> None:
        """Do what was asked, and answer."""
        waiting, self._waiting = self._waiting, []
        for deferred, work in waiting:
            if not deferred.called:
                deferred.callback(work())
            elif self.deaf:
                work()

    def _call(self, name: str, *arguments: Any) -> Any:
        self.asked.append((name, arguments))
        if self.down == "at once":
            raise StoreUnavailable("the circuit is open")
        if self.down:
            return fail(StoreUnavailable("connection refused"))
        deferred: Deferred[Any] = Deferred()
        self._waiting.append((deferred, lambda: getattr(self.memory, name)(*arguments)))
        if not self.waits:
            self.answer()
        return deferred

    def take(self, limits, cost=1):
        return self._call("take", limits, cost)

    def peek(self, limits):
        return self._call("peek", limits)

    def get(self, key):
        return self._call("get", key)

    def put(self, key, value, seconds):
        return self._call("put", key, value, seconds)

    def add(self, key, value, seconds):
        return self._call("add", key, value, seconds)

    def swap(self, key, expected, value, seconds=0.0):
        return self._call("swap", key, expected, value, seconds)

    def remove(self, key):
        return self._call("remove", key)

    def lease(self, capacities, holder, seconds):
        return self._call("lease", capacities, holder, seconds)

    def renew(self, keys, holders, seconds):
        return self._call("renew", keys, holders, seconds)

    def release(self, keys, holder):
        return self._call("release", keys, holder)
