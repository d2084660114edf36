"""Paths in a configuration are relative to its file; here they are made absolute, and looked at."""

from __future__ import annotations

import os
from pathlib import Path
from typing import TypeVar

from pydantic import BaseModel, SecretStr

from apigateway.config.fields import PathMark
from apigateway.config.walk import Leaf, replaced
from apigateway.errors import Problem

M = TypeVar("M", bound=BaseModel)


def absolute(model: M, base_dir: str | Path) -> M:
    """The model with every path in it absolute, as seen from a folder (of the configuration's file).

    Goes by the marks of the fields (fields.PathMark): a configuration, or the settings of a policy.
    """

    def visit(pointer: str, text: Leaf, mark: PathMark | None) -> Leaf:
        path = _path_in(text, mark)
        if mark is None or path is None:
            return text
        return mark.prefix + os.path.normpath(os.path.join(base_dir, path))

    return replaced(model, visit, paths_only=True)


def check_files(model: BaseModel, base_dir: str | Path, pointer: str = "") -> tuple[Problem, ...]:
    """What is wrong with the files and folders that a model names: it reads the disk, and writes nothing."""
    problems: list[Problem] = []

    def visit(place: str, text: Leaf, mark: PathMark | None) -> Leaf:
        path = _path_in(text, mark)
        if mark is not None and path is not None:
            fault = _fault(Path(base_dir, path), mark)
            if fault:
                problems.append(Problem(place, fault))
        return text

    replaced(model, visit, pointer=pointer, paths_only=True)
    return tuple(problems)


def _path_in(text: Leaf, mark: PathMark | None) -> str | None:
    return None if mark is None or isinstance(text, SecretStr) else mark.path_in(text)


def _fault(path: Path, mark: PathMark) -> str:
    try:
        return _fault_of_output(path) if mark.kind == "output" else _fault_of_input(path, mark)
    except (OSError, ValueError) as error:
        return f"{path} cannot be looked at: {getattr(error, 'strerror', None) or error}"


def _fault_of_output(path: Path) -> str:
    # It is made when missing, but the folder that it is made in is not.
    if path.exists() or path.parent.is_dir():
        return ""
    return f"there is no folder {path.parent}"


def _fault_of_input(path: Path, mark: PathMark) -> str:
    if not path.exists():
        return f"there is no {path}"
    if mark.kind == "file" and not path.is_file():
        return f"{path} is not a file"
    if mark.kind == "folder" and not path.is_dir():
        return f"{path} is not a folder"
    if not os.access(path, os.R_OK):
        return f"{path} may not be read by this user"
    return ""
