"""Whether the conformance data is there: whoever has none is told."""

from __future__ import annotations

import pytest
import testdata


def test_the_data_is_there() -> None:
    names = ", ".join(testdata.missing())
    if names and not testdata.demanded():
        pytest.skip(f"the conformance data is not there: no {names} in {testdata.place()}")
    assert not names
