"""Public conformance data against the gateway; the data lies beside the project (testdata.py)."""

from __future__ import annotations

from pathlib import Path

import pytest
import testdata
from results import Results
from toolkit.fixtures import quick_collections, stage

__all__ = ["quick_collections", "stage"]

# Without the data its tests are not there, unless somebody said that it is; test_testdata.py tells.
_ALL = {path.name for path in Path(__file__).parent.glob("test_*.py")}
collect_ignore = sorted(_ALL - {"test_testdata.py"}) if testdata.missing() and not testdata.demanded() else []


@pytest.fixture(scope="session")
def results() -> Results:
    """What the cases gave, each sent once for all tests of a process."""
    return Results()


def pytest_addoption(parser: pytest.Parser) -> None:
    parser.addoption("--write-conformance", action="store_true", help="write docs/conformance.md anew")
