"""A configuration from a file or a text: read, validated, each part's line known."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

from pydantic import BaseModel, ValidationError

from apigateway.config.document import MAX_SIZE, Document
from apigateway.config.json_text import read_json
from apigateway.config.messages import problems_of
from apigateway.config.model import Api, Configuration, Consumer, Upstream
from apigateway.config.yaml_text import read_yaml
from apigateway.errors import ConfigurationRefused, Problem

Format = Literal["yaml", "json"]

# Lists that may be long.
_LISTS: dict[str, type[BaseModel]] = {"apis": Api, "upstreams": Upstream, "consumers": Consumer}


@dataclass(frozen=True, slots=True)
class Loaded:
    """A valid configuration, and where each part of it was written.

    Its paths are as written: relative to the file (paths.absolute).
    """

    configuration: Configuration
    document: Document

    def located(self, problems: Iterable[Problem]) -> tuple[Problem, ...]:
        """Problems found later (by checks, by policies), with the file and the line they are about."""
        return self.document.located(problems)


def load_file(path: str | Path) -> Loaded:
    """The configuration of a file: JSON where its name ends so, else YAML.

    Raises ConfigurationRefused with everything that is wrong. Not a check of sense: see check.check.
    """
    path = Path(path)
    try:
        with path.open("rb") as stream:
            octets = stream.read(MAX_SIZE + 1)
    except OSError as error:
        raise ConfigurationRefused([Problem("", f"cannot be read: {error.strerror}", str(path))]) from error
    try:
        text = octets.decode("utf-8-sig")
    except UnicodeDecodeError as error:
        line = octets.count(b"\n", 0, error.start) + 1
        raise ConfigurationRefused([Problem("", "not UTF-8", str(path), line)]) from error
    return load_text(text, name=str(path), format="json" if path.suffix.lower() == ".json" else "yaml")


def load_text(text: str, *, name: str, format: Format = "yaml") -> Loaded:
    """The configuration of a text; name: what messages call its file. Raises ConfigurationRefused."""
    if len(text) > MAX_SIZE:
        raise ConfigurationRefused([Problem("", f"larger than {MAX_SIZE // 1024 // 1024} MiB", name)])
    document = read_json(text, name) if format == "json" else read_yaml(text, name)
    if document.problems:
        raise ConfigurationRefused(document.problems)
    try:
        return Loaded(configuration_of(document.value), document)
    except ConfigurationRefused as refused:
        raise ConfigurationRefused(document.located(refused.problems)) from None


def configuration_of(value: object) -> Configuration:
    """The configuration that plain values (of a file, of a manager's answer) describe.

    Raises ConfigurationRefused, with pointers and without lines.
    """
    if value is None:
        raise ConfigurationRefused([Problem("", "there is nothing in it")])
    try:
        return Configuration.model_validate(_with_members(value), by_alias=True, by_name=False)
    except ValidationError:
        pass  # told of the whole: what is wrong elsewhere, too, and in its order
    try:
        return Configuration.model_validate(value, by_alias=True, by_name=False)
    except ValidationError as error:
        problems = problems_of(error, Configuration, value)
    raise ConfigurationRefused(problems)


def _with_members(value: object) -> object:
    """The values with each member of long lists validated on its own. In one call a thousand Apis take 40 ms, in which
    no other thread has a turn; and a worker may be serving."""
    if not isinstance(value, dict):
        return value
    made = {
        key: [model.model_validate(member, by_alias=True, by_name=False) for member in value[key]]
        for key, model in _LISTS.items() if isinstance(value.get(key), list)
    }
    return {**value, **made}
