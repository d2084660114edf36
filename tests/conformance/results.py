"""What the public cases gave: reckoned once, when first asked for."""

from __future__ import annotations

import llhttp_cases
import llhttp_judging
import probe_cases
import testdata
from llhttp_judging import Judgement
from probe_judging import Verdict, judge
from probing import probe_all
from toolkit.stage import Stage


class Results:
    """One run's figures."""

    def __init__(self) -> None:
        self._probed: list[Verdict] = []
        self._judged: list[Judgement] = []

    async def probed(self, stage: Stage) -> list[Verdict]:
        """All of http11probe."""
        if not self._probed:
            cases = probe_cases.read_cases(testdata.place() / "http11probe")
            self._probed = [judge(one) for one in await probe_all(stage, cases)]
        return self._probed

    def judged(self) -> list[Judgement]:
        """All of llhttp-md."""
        if not self._judged:
            cases = llhttp_cases.read_cases(testdata.place() / "llhttp-md")
            self._judged = [llhttp_judging.judged(case) for case in cases]
        return self._judged
