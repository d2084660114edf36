"""The files of deploy/, read."""

from __future__ import annotations

import json
import re
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from ruamel.yaml import YAML

DEPLOY = Path(__file__).parents[2] / "deploy"


def objects() -> list[dict[str, Any]]:
    """Every object of deploy/kubernetes."""
    yaml = YAML(typ="safe")
    return [one for path in sorted(DEPLOY.glob("kubernetes/*.yaml")) for one in yaml.load_all(path.read_text())]


def object_of(kind: str, name: str = "apigateway") -> dict[str, Any]:
    """The object of this kind and name."""
    [found] = [one for one in objects() if one["kind"] == kind and one["metadata"]["name"] == name]
    return found


def configuration() -> str:
    """The gateway's file, as the ConfigMap has it."""
    text: str = object_of("ConfigMap")["data"]["gateway.yaml"]
    return text


@dataclass(frozen=True)
class Instruction:
    """One of a Containerfile. word: FROM, RUN and so on; rest: its lines joined."""

    word: str
    rest: str

    @property
    def command(self) -> list[str]:
        """Of ENTRYPOINT and CMD in their JSON form."""
        command: list[str] = json.loads(self.rest)
        return command


def container_stages() -> list[list[Instruction]]:
    """The stages of the Containerfile."""
    text = re.sub(r"^#.*\n", "", (DEPLOY / "Containerfile").read_text(), flags=re.MULTILINE)
    stages: list[list[Instruction]] = []
    for line in text.replace("\\\n", " ").splitlines():
        if not line.strip():
            continue
        word, _, rest = line.partition(" ")
        if word == "FROM":
            stages.append([])
        stages[-1].append(Instruction(word, " ".join(rest.split())))
    return stages
