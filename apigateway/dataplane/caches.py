"""The caches of a worker as operators see them, and how they are forgotten: here, or in all workers."""

from __future__ import annotations

from dataclasses import asdict
from typing import Any

from apigateway.ports.interfaces import INotices, Reading
from apigateway.ports.local_cache import CACHES, LocalCache, LocalCaches

PURGES = "caches/purge"


class WorkerCaches:
    """Those of a worker, and those of its process."""

    def __init__(self, own: LocalCaches, notices: INotices) -> None:
        self._own, self._notices = own, notices
        self._unhear = notices.hear(PURGES, self._told)

    def close(self) -> None:
        """Hear no more."""
        self._unhear()

    def shown(self) -> list[dict[str, Any]]:
        """Name, entries, most, hits, misses and evicted of each, by name."""
        figures = [asdict(figures) for caches in (self._own, CACHES) for figures in caches.figures()]
        return sorted(figures, key=lambda one: str(one["name"]))

    def purge(self, name: str, *, everywhere: bool) -> int:
        """Forget what the cache of this name holds, or all for ""; how many entries that were here. LookupError.

        everywhere: in all workers of the environment that hear it now.
        """
        were = sum(cache.purge() for cache in self._named(name))
        if everywhere:
            self._notices.tell(PURGES, name.encode() or b"*")
        return were

    def readings(self) -> list[Reading]:
        """For the metrics page."""
        return [
            Reading(f"cache_{what}", (one["name"],), float(one[what]))
            for one in self.shown() for what in ("entries", "hits", "misses", "evicted")
        ]

    def _named(self, name: str) -> list[LocalCache]:
        found = [cache for caches in (self._own, CACHES) for cache in caches if name in ("", cache.name)]
        if name and not found:
            raise LookupError(name)
        return found

    def _told(self, body: bytes) -> None:
        """b"": some may have been missed, so all that others could have said is done."""
        name = body.decode("utf-8", "replace").removeprefix("*")
        for caches in (self._own, CACHES):
            for cache in caches:
                if name in ("", cache.name):
                    cache.purge()
