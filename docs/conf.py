"""Sphinx: the hand-written pages beside this file, and the generated ones under reference/."""

from __future__ import annotations

import sys
from pathlib import Path

HERE = Path(__file__).parent
# Of this checkout, whatever is installed; and the extension beside this file.
sys.path[:0] = [str(HERE.parent), str(HERE)]

from apigateway import __version__  # noqa: E402

project = "apigateway"
release = version = __version__
project_copyright = "apigateway"

extensions = ["myst_parser", "fault_table"]
myst_enable_extensions = ["colon_fence"]
# Generated pages link to their own headings.
myst_heading_anchors = 3
exclude_patterns = ["_build"]

html_theme = "furo"
html_title = f"apigateway {release}"
html_copy_source = False
