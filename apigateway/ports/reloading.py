"""What came of a reload, as operators are told."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import UTC, datetime
from typing import Any


def outcome_of_reload(
    *, taken: bool, digest: str, wall: float | None = None, problems: Sequence[str] = ()
) -> dict[str, Any]:
    """digest: of the revision that runs now. wall: when it was decided, seconds since 1970 UTC; None: not yet.
    problems: why it was refused."""
    at = "" if wall is None else datetime.fromtimestamp(wall, UTC).isoformat(timespec="seconds")
    return {"taken": taken, "digest": digest, "at": at, "problems": list(problems)}
