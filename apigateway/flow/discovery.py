"""Finds policy files in the four places where they may be, and loads them.

- modules of the package `apigateway.policies`;
- modules in the folders of `twisted.plugins.__path__` that define a KIND. We walk them ourselves:
  `getPlugins` logs a module that does not load and goes on, and a guard that is skipped
  lets everything through;
- entry points of the group `apigateway.policies`;
- files of the folders in `policy_paths`.

Files of the second and fourth kind are read and run anew each time, so that an edited file takes effect
on reload; no bytecode is written or believed, since it is told apart by the second of its change only.
"""

from __future__ import annotations

import hashlib
import importlib
import pkgutil
import re
import sys
import traceback
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from importlib.metadata import entry_points as installed_entry_points
from pathlib import Path
from types import ModuleType
from typing import Literal

from apigateway.errors import Problem

Origin = Literal["package", "plugins", "entry-point", "path"]

PACKAGE = "apigateway.policies"
GROUP = "apigateway.policies"
_DEFINES_KIND = re.compile(rb"^KIND\s*(?::[^=\n]*)?=", re.MULTILINE)


@dataclass(frozen=True, slots=True)
class Found:
    """A policy file that was loaded. source: its path, "" for none. pointer: the setting it is of."""

    module: ModuleType
    source: str
    origin: Origin
    pointer: str = ""


def find(policy_paths: Sequence[str], *, entry_points: bool) -> Iterator[Found | Problem]:
    """Every policy file there is; a Problem with the traceback for one that does not load."""
    yield from _of_package()
    yield from _of_plugins()
    if entry_points:
        yield from _of_entry_points()
    yield from _of_paths(policy_paths)


def _of_package() -> Iterator[Found | Problem]:
    package = importlib.import_module(PACKAGE)
    for info in sorted(pkgutil.iter_modules(package.__path__), key=lambda info: info.name):
        name = f"{PACKAGE}.{info.name}"
        try:
            yield _imported(importlib.import_module(name), "package")
        except (Exception, SystemExit):
            yield _broken(f"policy module {name} does not load")


def _of_plugins() -> Iterator[Found | Problem]:
    import twisted.plugins  # Its __path__ is worked out on import, from what sys.path holds then.

    for path in _python_files(map(Path, twisted.plugins.__path__)):
        # Other people's plugins live here, too: what defines no KIND is not run.
        try:
            defines_kind = _DEFINES_KIND.search(path.read_bytes()) is not None
        except OSError as error:
            yield Problem("", f"cannot be read: {error.strerror}", str(path))
            continue
        if defines_kind:
            yield _load(path, "plugins")


def _of_entry_points() -> Iterator[Found | Problem]:
    for entry_point in sorted(installed_entry_points(group=GROUP), key=lambda entry_point: entry_point.name):
        try:
            entry_point.load()
            yield _imported(importlib.import_module(entry_point.module), "entry-point")
        except (Exception, SystemExit):
            yield _broken(f"entry point {entry_point.name} = {entry_point.value} does not load")


def _of_paths(policy_paths: Sequence[str]) -> Iterator[Found | Problem]:
    for index, text in enumerate(policy_paths):
        pointer, path = f"/policy_paths/{index}", Path(text)
        if path.is_file():
            yield _load(path, "path", pointer)
        elif path.is_dir():
            for file in _python_files([path]):
                yield _load(file, "path", pointer)
        else:
            yield Problem(pointer, f"there is no folder {text!r}")


def _python_files(folders: Iterable[Path]) -> Iterator[Path]:
    """*.py of folders, by name; each file once, however many ways lead to it. A leading _ keeps one out."""
    seen: set[Path] = set()
    for folder in folders:
        for path in sorted(folder.glob("*.py")):
            real = path.resolve()
            if not path.name.startswith("_") and real not in seen:
                seen.add(real)
                yield path


def _imported(module: ModuleType, origin: Origin) -> Found:
    return Found(module, getattr(module, "__file__", None) or "", origin)


def _load(path: Path, origin: Origin, pointer: str = "") -> Found | Problem:
    # One name per file: pydantic and dataclasses look a class's module up in sys.modules, and a file that is
    # loaded again takes the place of its elder there instead of piling up.
    real = path.resolve()
    name = f"_apigateway_policy_{hashlib.sha256(str(real).encode()).hexdigest()[:12]}_{path.stem}"
    module = ModuleType(name)
    module.__file__ = str(real)
    elder = sys.modules.get(name)
    sys.modules[name] = module
    try:
        exec(compile(real.read_bytes(), str(real), "exec", dont_inherit=True), module.__dict__)
    except (Exception, SystemExit):
        del sys.modules[name]
        if elder is not None:
            sys.modules[name] = elder
        return _broken("this policy file does not load", str(path), pointer)
    return Found(module, str(path), origin, pointer)


def _broken(message: str, file: str = "", pointer: str = "") -> Problem:
    """The exception that is being handled, with its traceback: whoever wrote the file has to see it."""
    return Problem(pointer, f"{message}\n{traceback.format_exc()}".rstrip(), file)
