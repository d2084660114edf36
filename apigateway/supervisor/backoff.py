"""When a worker that died is begun again. No I/O: whoever asks brings the time."""

from __future__ import annotations

# One death costs nothing; who dies again and again is tried ever more rarely, but is tried: what is wrong may pass.
PAUSES = (0.0, 0.5, 1.0, 2.0, 4.0, 8.0, 16.0, 30.0)
# Seconds of life after which a death is a first one again.
LONG_ENOUGH = 60.0


class Backoff:
    """Of one slot. Times are monotonic seconds."""

    def __init__(self) -> None:
        self._deaths = 0
        self._began = 0.0

    def began(self, now: float) -> None:
        """A worker was begun."""
        self._began = now

    def pause(self, now: float) -> float:
        """It died now: seconds until the next one may be begun."""
        if now - self._began >= LONG_ENOUGH:
            self._deaths = 0
        pause = PAUSES[min(self._deaths, len(PAUSES) - 1)]
        self._deaths += 1
        return pause
