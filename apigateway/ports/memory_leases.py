"""Places that are held until they are given back, or until a time. Driven by the caller's clock."""

from __future__ import annotations

from heapq import heapify, heappop, heappush


class Places:
    """Who holds a place of one capacity, and until when.

    Every method but `give_back` is called after `forget` with the same `now`. ends: when nobody holds a place any
    more, so that it may be forgotten; it is never too early.
    """

    __slots__ = ("_by_end", "_until", "ends")

    def __init__(self, now: float) -> None:
        self._until: dict[str, float] = {}
        # An entry that says something else than _until is of a place that was renewed or given back.
        self._by_end: list[tuple[float, str]] = []
        self.ends = now

    def __len__(self) -> int:
        return len(self._until)

    def __contains__(self, holder: str) -> bool:
        return holder in self._until

    def forget(self, now: float) -> None:
        """Take away the places whose time is over."""
        by_end, until = self._by_end, self._until
        while by_end:
            end, holder = by_end[0]
            if until.get(holder) == end:
                if end > now:
                    return
                del until[holder]
            heappop(by_end)

    def hold(self, holder: str, end: float) -> None:
        """A new place, or a new end of the one that it has."""
        self._until[holder] = end
        self.ends = max(self.ends, end)
        heappush(self._by_end, (end, holder))
        if len(self._by_end) > 2 * len(self._until) + 16:
            self._by_end = [(until, who) for who, until in self._until.items()]
            heapify(self._by_end)

    def give_back(self, holder: str) -> None:
        """Harmless where it holds none."""
        self._until.pop(holder, None)
        if not self._until:
            self._by_end.clear()
            self.ends = 0.0

    def first_end(self) -> float:
        """When the first place is given back by itself. There has to be one."""
        return self._by_end[0][0]
