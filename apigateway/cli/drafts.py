"""The draft of a file, for commands that look into it."""

from __future__ import annotations

from apigateway.checking import check_file
from apigateway.cli import exit_codes
from apigateway.cli.printing import print_problems
from apigateway.config.model import Configuration
from apigateway.flow.drafting import Draft


def draft_of(file: str) -> tuple[Configuration, Draft]:
    """The configuration and the draft; for a file with errors, these on standard error and SystemExit(1)."""
    checked = check_file(file)
    if checked.ok and checked.configuration is not None and checked.draft is not None:
        return checked.configuration, checked.draft
    print_problems(checked.problems, err=True)
    raise SystemExit(exit_codes.REFUSED)
