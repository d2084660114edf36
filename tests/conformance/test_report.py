"""docs/conformance.md tells what the cases gave."""

from __future__ import annotations

import pytest
from pytest_twisted import ensureDeferred
from report import PAGE, page
from results import Results
from toolkit.stage import Stage


@ensureDeferred
async def test_the_page_is_up_to_date(stage: Stage, results: Results, request: pytest.FixtureRequest) -> None:
    text = page(await results.probed(stage), results.judged())
    if request.config.getoption("--write-conformance", default=False):
        PAGE.write_text(text, encoding="utf-8")
    assert PAGE.read_text(encoding="utf-8") == text
