"""How much of what came lately failed."""

from __future__ import annotations

from typing import Final

# The window moves in so many steps: what is counted is up to a tenth of it too young, never too old.
SLOTS: Final = 10


class FailureWindow:
    """Results of the last so many seconds. Adding one costs the same whatever the window holds."""

    __slots__ = ("_at", "_failed", "_seconds", "_total", "failed", "total")

    def __init__(self) -> None:
        self.total = self.failed = 0
        self._total = [0] * SLOTS
        self._failed = [0] * SLOTS
        self._at = 0
        self._seconds = 0.0

    def add(self, failed: bool, now: float, seconds: float) -> None:
        """One more result; seconds: how far the window reaches. Another length than before begins a new one."""
        self.move(now, seconds)
        slot = self._at % SLOTS
        self._total[slot] += 1
        self.total += 1
        if failed:
            self._failed[slot] += 1
            self.failed += 1

    def move(self, now: float, seconds: float) -> None:
        """Forget what is over."""
        at = int(now / seconds * SLOTS)
        if seconds != self._seconds or at - self._at >= SLOTS:
            self.clear()
            self._seconds, self._at = seconds, at
        while self._at < at:
            self._at += 1
            slot = self._at % SLOTS
            self.total -= self._total[slot]
            self.failed -= self._failed[slot]
            self._total[slot] = self._failed[slot] = 0

    def clear(self) -> None:
        """Forget everything."""
        self.total = self.failed = 0
        self._total = [0] * SLOTS
        self._failed = [0] * SLOTS

    def over(self, share: float, minimum: int) -> bool:
        """Whether there are enough results, and so many of them failed."""
        return self.total >= minimum and self.failed >= share * self.total
