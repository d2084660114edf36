"""http11probe against the running gateway: no failure in Smuggling and Normalization, none at MUST level elsewhere."""

from __future__ import annotations

import pytest
from probe_cases import FAIL, PASS
from probe_judging import NOTES, Verdict
from pytest_twisted import ensureDeferred
from results import Results
from toolkit.stage import Stage

SUITES = {"Smuggling": 87, "Normalization": 5, "Compliance": 76, "MalformedInput": 26, "Cookie": 12, "Capabilities": 9}


def shown(verdict: Verdict) -> str:
    """What a failing test says of a case."""
    probed = verdict.probed
    statuses = [answer.status for answer in probed.answers]
    seen = f"{statuses}, closed: {probed.closed}, at the origin: {len(probed.complete)} of {len(probed.heads)}"
    wanted = probed.case.given["expect_text"] or probed.case.given.get("pass_status")
    return f"{verdict.id} ({probed.case.level}): {seen}; wanted: {wanted}"


@pytest.mark.parametrize("suite", SUITES)
@ensureDeferred
async def test_no_case_fails(stage: Stage, results: Results, suite: str) -> None:
    verdicts = [one for one in await results.probed(stage) if one.probed.case.suite == suite]
    assert len(verdicts) == SUITES[suite]
    assert [shown(one) for one in verdicts if one.word == FAIL] == []


@ensureDeferred
async def test_what_is_refused_reaches_no_upstream(stage: Stage, results: Results) -> None:
    refused = [one.probed for one in await results.probed(stage) if one.probed.refused]
    assert len(refused) > 100
    assert [one.case.id for one in refused if one.complete] == []
    # A body that breaks off is refused when its head is on its way, or will never be.
    early = [one for one in refused if b"chunked\r\n\r\n" not in one.case.requests[0]]
    assert [one.case.id for one in early if one.heads] == []


@ensureDeferred
async def test_every_verdict_that_is_no_plain_pass_has_its_reason_and_no_other(
    stage: Stage, results: Results
) -> None:
    verdicts = await results.probed(stage)
    assert {one.id for one in verdicts if one.word != PASS} == {*NOTES}
