"""What can be wrong with a configuration, as values that name the place."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class Problem:
    """One thing that is wrong.

    pointer: JSON Pointer (RFC 6901) into the configuration, "" for the whole document.
    message: what is wrong, in one sentence, without a secret in it.
    file, line: where it was read (line counts from 1; 0 when unknown).
    hint: the nearest known name, or "".
    warning: reported, but does not refuse the configuration.
    """

    pointer: str
    message: str
    file: str = ""
    line: int = 0
    hint: str = ""
    warning: bool = False

    def __str__(self) -> str:
        place = f"{self.file}:{self.line}: " if self.line else (f"{self.file}: " if self.file else "")
        hint = f" (did you mean {self.hint!r}?)" if self.hint else ""
        return f"{place}{self.pointer or '/'}: {self.message}{hint}"


class ConfigurationRefused(Exception):
    """A configuration or revision that cannot be taken; holds every problem found, not the first."""

    def __init__(self, problems: Iterable[Problem]) -> None:
        self.problems = tuple(problems)
        super().__init__("\n".join(str(problem) for problem in self.problems))
