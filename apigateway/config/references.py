"""Secrets by reference: ${env:NAME} and ${file:PATH}, only in secret fields, only from what is allowed.

A reference may be a part of its text ("Bearer ${env:TOKEN}"), and there may be several in one.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import TypeVar

from pydantic import BaseModel, SecretStr

from apigateway.config.fields import PathMark
from apigateway.config.model import Configuration, References
from apigateway.config.walk import Leaf, replaced
from apigateway.errors import Problem
from apigateway.text import nearest

M = TypeVar("M", bound=BaseModel)

MAX_SECRET = 64 * 1024

_REFERENCE = re.compile(r"\$\{([A-Za-z][A-Za-z0-9_-]*):([^}]*)(\}?)")
_SETTINGS_OF_STEP = re.compile(r"/(?:request|response|error_flow)/[0-9]+/with/")
_STRAY = "a reference is read in fields for secrets only; here it would be sent as it stands"


def resolve_secrets(
    model: M,
    references: References,
    base_dir: str | Path,
    environ: Mapping[str, str],
    *,
    pointer: str = "",
    unset_is_warning: bool = False,
) -> tuple[M, tuple[Problem, ...]]:
    """The model with the references in its SecretStr fields resolved, and everything that is wrong with them.

    references: what may be read; base_dir: the folder of the configuration's file; pointer: where the model
    stands. unset_is_warning: for a check on another machine than the one that will serve. What could not be
    resolved stays as written. No problem holds a secret.
    """
    problems: list[Problem] = []
    source = _Source(references, Path(base_dir), environ, unset_is_warning)

    def visit(place: str, text: Leaf, _: PathMark | None) -> Leaf:
        if not isinstance(text, SecretStr):
            if _REFERENCE.search(text):
                problems.append(Problem(place, _STRAY))
            return text
        written = text.get_secret_value()
        if not _REFERENCE.search(written):
            return text
        try:
            return SecretStr(_REFERENCE.sub(source.value, written))
        except _Unresolved as unresolved:
            problems.append(unresolved.problem(place))
            return text

    return replaced(model, visit, pointer=pointer), tuple(problems)


def stray_references(configuration: Configuration) -> tuple[Problem, ...]:
    """References in fields of a configuration that are no secrets.

    The settings of steps are left out: their kinds know which are secrets, and resolve_secrets tells.
    """
    problems: list[Problem] = []

    def visit(place: str, text: Leaf, _: PathMark | None) -> Leaf:
        if (
            isinstance(text, str)
            and "${" in text
            and _REFERENCE.search(text)
            and not _SETTINGS_OF_STEP.search(place)
        ):
            problems.append(Problem(place, _STRAY))
        return text

    replaced(configuration, visit)
    return tuple(problems)


class _Unresolved(Exception):
    """Why a reference has no value."""

    def __init__(self, message: str, *, hint: str = "", warning: bool = False) -> None:
        super().__init__(message)
        self.hint = hint
        self.warning = warning

    def problem(self, pointer: str) -> Problem:
        return Problem(pointer, str(self), hint=self.hint, warning=self.warning)


@dataclass(frozen=True, slots=True)
class _Source:
    """Where values come from."""

    references: References
    base_dir: Path
    environ: Mapping[str, str]
    unset_is_warning: bool

    def value(self, match: re.Match[str]) -> str:
        kind, name, closed = match.groups()
        if not closed:
            raise _Unresolved(f'the reference "${{{kind}:" is not closed by a brace')
        if kind == "env":
            return self.of_environment(name)
        if kind == "file":
            return self.of_file(name)
        raise _Unresolved(
            f'a reference begins with env: or file:, not "{kind}:"', hint=nearest(kind, ("env", "file"))
        )

    def of_environment(self, name: str) -> str:
        if name not in self.references.env:
            hint = nearest(name, self.references.env)
            raise _Unresolved(f'references.env does not allow the variable "{name}"', hint=hint)
        value = self.environ.get(name, "")
        if not value:
            what = "empty" if name in self.environ else "not set"
            raise _Unresolved(f'the variable "{name}" is {what}', warning=self.unset_is_warning)
        return value

    def of_file(self, name: str) -> str:
        try:
            path = (self.base_dir / name).resolve()
            if not self.allows(path):
                raise _Unresolved(f'references.files does not allow "{name}"')
            with path.open("rb") as stream:
                octets = stream.read(MAX_SECRET + 1)
            text = octets.decode()
        except OSError as error:
            raise _Unresolved(f'"{name}" cannot be read: {error.strerror}') from None
        except ValueError:
            raise _Unresolved(f'"{name}" is not the name of a file of UTF-8 text') from None
        if len(octets) > MAX_SECRET:
            raise _Unresolved(f'"{name}" is larger than {MAX_SECRET // 1024} KiB')
        # Editors and `echo` end a file with a newline that is no part of the secret.
        value = text.removesuffix("\n").removesuffix("\r")
        if not value:
            raise _Unresolved(f'"{name}" is empty')
        return value

    def allows(self, path: Path) -> bool:
        # Both ends are resolved, so that neither ".." nor a link leads out of an allowed folder.
        return any(
            path.is_relative_to((self.base_dir / allowed).resolve()) for allowed in self.references.files
        )
