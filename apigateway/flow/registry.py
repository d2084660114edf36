"""The kinds of policies that this program knows. Nothing is registered: a file that is found is known."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from pydantic import BaseModel, ValidationError

from apigateway.config.messages import problems_of
from apigateway.errors import Problem
from apigateway.flow.discovery import Found, Origin, find
from apigateway.flow.kind_checks import faults_of
from apigateway.flow.kinds import Example, Kind
from apigateway.text import nearest


@dataclass(frozen=True, slots=True)
class Registered:
    """A kind and where it came from.

    about: the file's docstring, its documentation. module: its name in Python. source: path of the file, ""
    where it has none. origin: "package", "plugins", "entry-point" or "path".
    """

    kind: Kind
    examples: tuple[Example, ...]
    about: str
    module: str
    source: str
    origin: Origin


class Registry:
    """Kinds by name. `problems`: what is wrong with the files found; any of them refuses a revision."""

    def __init__(self, registered: Iterable[Registered], problems: Iterable[Problem] = ()) -> None:
        self._by_name: Mapping[str, Registered] = {each.kind.name: each for each in registered}
        self.problems = tuple(problems)

    def get(self, name: str) -> Registered | None:
        """The kind of this name with its origin, or None."""
        return self._by_name.get(name)

    def kind(self, name: str) -> Kind | None:
        """The kind of this name, or None."""
        registered = self._by_name.get(name)
        return None if registered is None else registered.kind

    def names(self) -> tuple[str, ...]:
        """Every name, sorted."""
        return tuple(sorted(self._by_name))

    def nearest(self, name: str) -> str:
        """The known name that was probably meant, or ""."""
        return nearest(name, self._by_name)

    def settings(
        self, name: str, given: Mapping[str, Any], pointer: str
    ) -> tuple[BaseModel | None, list[Problem]]:
        """A step's settings as its kind's Config; None and every problem with them where they are none.

        pointer: where they stand in the configuration.
        """
        kind = self.kind(name)
        if kind is None:
            return None, [Problem(pointer, f"there is no policy {name!r}", hint=self.nearest(name))]
        try:
            return kind.config.model_validate(given, by_alias=True, by_name=False), []
        except ValidationError as error:
            return None, problems_of(error, kind.config, given, pointer)


def discover(policy_paths: Sequence[str] = (), *, entry_points: bool = True) -> Registry:
    """Find, load and check every policy file there is.

    policy_paths: folders (or files), absolute. entry_points: look among installed distributions, too.
    A file that does not load or keep the contract is in `problems`, never left out in silence.
    """
    registered: dict[str, Registered] = {}
    problems: list[Problem] = []
    for found in find(policy_paths, entry_points=entry_points):
        if isinstance(found, Problem):
            problems.append(found)
            continue
        wrong = [Problem(found.pointer, fault, found.source) for fault in faults_of(found.module)]
        problems.extend(wrong)
        if not wrong:
            _register(found, registered, problems)
    return Registry(registered.values(), problems)


def _register(found: Found, registered: dict[str, Registered], problems: list[Problem]) -> None:
    kind: Kind = found.module.KIND
    elder = registered.get(kind.name)
    if elder is None:
        about = (found.module.__doc__ or "").strip()
        registered[kind.name] = Registered(
            kind, found.module.EXAMPLES, about, found.module.__name__, found.source, found.origin
        )
    elif (elder.module, elder.source) != (found.module.__name__, found.source):
        text = f"there are two policies {kind.name!r}; the other is {elder.source or elder.module}"
        problems.append(Problem(found.pointer, text, found.source))
