"""News of one worker to itself: all there is to hear where no state is shared."""

from __future__ import annotations

from collections.abc import Callable

from zope.interface import implementer

from apigateway.ports.interfaces import INotices

Hearer = Callable[[bytes], None]


@implementer(INotices)
class MemoryNotices:
    """An INotices that passes everything on at once; nothing is ever missed."""

    def __init__(self) -> None:
        self._hearers: dict[str, list[Hearer]] = {}

    def tell(self, topic: str, body: bytes) -> None:
        for hearer in list(self._hearers.get(topic, ())):
            hearer(body)

    def hear(self, topic: str, callable: Hearer) -> Callable[[], None]:
        self._hearers.setdefault(topic, []).append(callable)
        return lambda: self._hear_no_more(topic, callable)

    def _hear_no_more(self, topic: str, callable: Hearer) -> None:
        hearers = self._hearers.get(topic, [])
        if callable in hearers:
            hearers.remove(callable)
            if not hearers:
                del self._hearers[topic]
