"""What checks of a target leave behind, however they end: nothing that only the collector would find."""

from __future__ import annotations

from collections import Counter
from typing import Any

import pytest
from pytest_twisted import ensureDeferred
from toolkit.garbage import garbage, no_collector
from toolkit.origin import Asked
from toolkit.settings import simple
from toolkit.stage import Stage
from toolkit.waiting import until

from apigateway.flow.target_state import TargetState

__all__ = ["no_collector"]

SOME = 4
WHY = {
    "refused": "refused", "closed": "closed without an answer", "silent": "not answered within", "bad": "answered 500",
    "good": "answered 200",
}


@pytest.mark.parametrize("how", list(WHY))
@ensureDeferred
async def test_a_check_leaves_nothing_behind(
    stage: Stage, no_collector: None, monkeypatch: pytest.MonkeyPatch, how: str
) -> None:
    def script(asked: Asked) -> None:
        if how == "closed":
            asked.connection.close()
        elif how != "silent":
            asked.answer(200 if how == "good" else 500)

    origin = await stage.origin(script)
    if how == "refused":
        origin.stop()
    reasons: list[str] = []
    judge = TargetState.check_result

    def told(target: TargetState, good: bool, why: str, *more: Any) -> Any:
        reasons.append(why)
        return judge(target, good, why, *more)

    monkeypatch.setattr(TargetState, "check_result", told)
    health = {"path": "/health", "interval": "20ms", "timeout": "15ms" if how == "silent" else "4s"}
    await stage.serve(simple(origin, up={"health": health}))

    def so_often() -> int:
        # Where time is short, a check may also have ended on the way there: one more that leaves nothing.
        return sum(WHY[how] in why for why in reasons)

    await until(lambda: so_often() >= SOME)
    garbage()
    await until(lambda: so_often() >= 2 * SOME)
    assert garbage() == Counter()
    assert how == "silent" or so_often() == len(reasons), reasons
