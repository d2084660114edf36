"""Workers are begun with the switches of their supervisor."""

from __future__ import annotations

import json
import subprocess
import sys

import pytest

SHOWN = "import sys, json; print(json.dumps([list(sys.flags)[:-2], sys.warnoptions, sorted(sys._xoptions)]))"
ASKED = "import json; from apigateway.supervisor.interpreter import command; print(json.dumps(command('m', '5')))"


def said(*command: str) -> list[object]:
    values: list[object] = json.loads(subprocess.check_output(command))
    return values


@pytest.mark.parametrize(
    "switches",
    [
        ["-P"], ["-P", "-OO", "-B"], ["-P", "-W", "error::UserWarning", "-bb"],
        ["-P", "-X", "dev", "-X", "int_max_str_digits=0"], ["-P", "-s", "-E"],
    ],
)  # fmt: skip
def test_they_mean_the_same(switches: list[str]) -> None:
    command = said(sys.executable, *switches, "-c", ASKED)
    assert command[0] == sys.executable and command[-3:] == ["-m", "m", "5"]
    begun = said(sys.executable, *map(str, command[1:-3]), "-c", SHOWN)
    flags, warnings, options = said(sys.executable, *switches, "-c", SHOWN)
    assert (begun[0], begun[2]) == (flags, options)
    assert set(begun[1]) == set(warnings)  # type: ignore[call-overload]
