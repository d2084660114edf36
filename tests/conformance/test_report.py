"""docs/conformance.md tells what the cases gave."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable

import pytest
from pytest_twisted import ensureDeferred
from report import PAGE, page
from results import Results
from toolkit.stage import Stage


@ensureDeferred
async def test_the_page_is_up_to_date(
    stage: Stage, results: Results, request: pytest.FixtureRequest, record_property: Callable[[str, object], None]
) -> None:
    probed, judged = await results.probed(stage), results.judged()
    words = Counter(one.word for one in probed)
    counts = ", ".join(f"{words[word]} {word}" for word in ("pass", "warn", "fail"))
    record_property("says", f"http11probe: {len(probed)} cases over sockets: {counts}")
    record_property("says", f"llhttp-md: {len(judged)} cases read")
    text = page(probed, judged)
    if request.config.getoption("--write-conformance", default=False):
        PAGE.write_text(text, encoding="utf-8")
    assert PAGE.read_text(encoding="utf-8") == text
