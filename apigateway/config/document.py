"""A text of YAML or JSON as plain values, with the line of every one of them."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass, field, replace

from apigateway.errors import ConfigurationRefused, Problem

# Twenty times the size of a thousand Apis with ten routes each; what is larger is no configuration.
MAX_SIZE = 32 * 1024 * 1024
MAX_DEPTH = 64

# One damaged place may break every line after it: what nobody reads is not collected.
MAX_PROBLEMS = 200


def pointer_to(*parts: str | int) -> str:
    """JSON Pointer (RFC 6901) to a place, "" for the whole document."""
    return "".join(f"/{str(part).replace('~', '~0').replace('/', '~1')}" for part in parts)


@dataclass(slots=True)
class Document:
    """What a text holds: dict with str keys, list, str, int, float, bool, None; and what is wrong with it.

    lines: pointer to line, counted from 1; of a member of a mapping, the line of its key.
    """

    file: str
    value: object = None
    lines: dict[str, int] = field(default_factory=dict)
    problems: list[Problem] = field(default_factory=list)

    def note(self, pointer: str, line: int, message: str) -> None:
        """Remember one thing that is wrong; gives up with ConfigurationRefused where there are too many."""
        self.problems.append(Problem(pointer, message, self.file, line))
        if len(self.problems) >= MAX_PROBLEMS:
            raise ConfigurationRefused(self.problems)

    def line_of(self, pointer: str) -> int:
        """Line of a place; where it is not there, of what would hold it; 0 when nothing is known."""
        while pointer and pointer not in self.lines:
            pointer = pointer.rpartition("/")[0]
        return self.lines.get(pointer, 0)

    def located(self, problems: Iterable[Problem]) -> tuple[Problem, ...]:
        """The same problems, with file and line where they had none, in the order of the file."""
        placed = [
            problem
            if problem.file
            else replace(problem, file=self.file, line=problem.line or self.line_of(problem.pointer))
            for problem in problems
        ]
        return tuple(sorted(placed, key=lambda problem: problem.line))


def text_fault(text: str) -> str:
    """Why a text cannot be kept, or "": half of a surrogate pair has no UTF-8."""
    if not text.isascii():
        try:
            text.encode()
        except UnicodeEncodeError:
            return "a \\u escape that is half of a character"
    return ""
