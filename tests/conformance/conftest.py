"""Public conformance data against the gateway; the data lies beside the project (testdata.py)."""

from __future__ import annotations

from typing import Any

import pytest
import testdata
from results import Results
from toolkit.fixtures import quick_collections, stage

__all__ = ["quick_collections", "stage"]

# Without the data its tests are not there, unless somebody said that it is.
collect_ignore_glob = ["test_*.py"] if testdata.missing() and not testdata.demanded() else []
_RAN: list[Results] = []


@pytest.fixture(scope="session")
def results() -> Results:
    """What the cases gave, each sent once for all tests."""
    _RAN.append(Results())
    return _RAN[-1]


def pytest_addoption(parser: pytest.Parser) -> None:
    parser.addoption("--write-conformance", action="store_true", help="write docs/conformance.md anew")


def pytest_terminal_summary(terminalreporter: Any) -> None:
    """How many cases ran, or that there is no data."""
    for line in [line for one in _RAN for line in one.summary()]:
        terminalreporter.write_line(line)
    if testdata.missing() and not testdata.demanded():
        names = ", ".join(testdata.missing())
        terminalreporter.write_line(f"the conformance data is not there: no {names} in {testdata.place()}")
