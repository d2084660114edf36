"""When a worker that died is begun again. No I/O: whoever asks brings the time."""

from __future__ import annotations

# One death costs nothing; who dies again and again is tried ever more rarely, but is tried: what is wrong may pass.
PAUSES = (0.0, 0.5, 1.0, 2.0, 4.0, 8.0, 16.0, 30.0)
# Seconds of service after which a death is a first one again.
LONG_ENOUGH = 60.0


class Backoff:
    """Of one slot. Times are monotonic seconds. deaths: in a row. Who was told to end did not die: it is not asked
    about that one."""

    def __init__(self) -> None:
        self.deaths = 0
        self._serves_since: float | None = None

    def serves(self, now: float) -> None:
        """A worker is ready."""
        self._serves_since = now

    def pause(self, now: float) -> float:
        """It died now: seconds until the next one may be begun."""
        if self._serves_since is not None and now - self._serves_since >= LONG_ENOUGH:
            self.deaths = 0
        self._serves_since = None
        pause = PAUSES[min(self.deaths, len(PAUSES) - 1)]
        self.deaths += 1
        return pause
