"""Where the public conformance data is: APIGATEWAY_TESTDATA, else `../shared/testdata` from the project's root."""

from __future__ import annotations

import os
from pathlib import Path

ROOT = Path(__file__).parents[2]
FOLDERS = ("http11probe", "llhttp-md")


def place() -> Path:
    """The folder of the data."""
    named = os.environ.get("APIGATEWAY_TESTDATA")
    return Path(named) if named else ROOT.parent / "shared" / "testdata"


def missing() -> list[str]:
    """The folders that are not there."""
    return [name for name in FOLDERS if not (place() / name).is_dir()]


def demanded() -> bool:
    """Whoever sets the variable says that the data has to be there."""
    return bool(os.environ.get("APIGATEWAY_TESTDATA"))
