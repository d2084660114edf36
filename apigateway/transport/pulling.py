"""A pull producer made to push."""

from __future__ import annotations

import asyncio

from twisted.internet.interfaces import IPullProducer, IPushProducer
from zope.interface import implementer


@implementer(IPushProducer)
class Pulled:
    """Asks a pull producer for one piece per turn of the loop, from resumeProducing to pauseProducing."""

    def __init__(self, producer: IPullProducer) -> None:
        self._producer = producer
        self._next: asyncio.Handle | None = None

    def resumeProducing(self) -> None:
        if self._next is None:
            self._next = asyncio.get_running_loop().call_soon(self._pull)

    def pauseProducing(self) -> None:
        if self._next is not None:
            self._next.cancel()
            self._next = None

    def stopProducing(self) -> None:
        self.pauseProducing()
        self._producer.stopProducing()

    def _pull(self) -> None:
        # Asked for first, so that a write which fills the buffer can take it back by pauseProducing.
        self._next = asyncio.get_running_loop().call_soon(self._pull)
        self._producer.resumeProducing()
