"""Where a proxy is run, and how programs and configurations for it come about."""

from __future__ import annotations

import os
import re
import shutil
import subprocess
import sys
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path

from bench.job import BODY
from bench.processes import python
from bench.scenario import PLAIN, Scenario

TEMPLATES = Path(__file__).parent / "peers"
NAME = "api.example.test"


@dataclass(frozen=True, slots=True)
class Place:
    """What a proxy is told: its own port, the backend's two, a folder of its own files, and what to do."""

    name: str
    port: int
    backends: tuple[int, int]
    folder: Path
    scenario: Scenario = PLAIN

    @property
    def stem(self) -> str:
        """How its files' names begin."""
        return re.sub(r"[^a-z0-9]+", "-", self.name.lower())

    @property
    def log(self) -> Path:
        """Where its access log goes."""
        return self.folder / f"{self.stem}.log"

    def certificate(self) -> tuple[Path, Path]:
        """(chain, key), PEM: on P-256, the same for everybody in the folder."""
        folder = self.folder / "certs"
        chain, key = folder / f"{NAME}.pem", folder / f"{NAME}.key"
        if not chain.exists():
            subprocess.run(
                python("apigateway.cli", "dev-certs", folder, NAME), check=True, stdout=subprocess.DEVNULL,
                cwd=TEMPLATES.parents[1],
            )
        return chain, key

    def written(self, template: str, **pieces: object) -> str:
        """The path of a configuration made from one of ours. pieces: of `@NAME@`."""
        return self.kept(template, filled(
            (TEMPLATES / template).read_text(), PORT=self.port, ONE=self.backends[0], TWO=self.backends[1],
            FOLDER=self.folder, NAME=self.stem, LOG=self.log, WORKERS=self.scenario.workers, **pieces,
        ))

    def kept(self, name: str, text: str) -> str:
        """The path of a file with this text, of this proxy alone."""
        path = self.folder / f"{self.stem}-{name}"
        path.write_text(text)
        return str(path)


@dataclass(frozen=True, slots=True)
class Proxy:
    """A proxy. about: one line for the table. logs: it writes an access log.

    command: how it is started; a text that says why it cannot be, where it is missing or cannot do that.
    """

    name: str
    about: str
    logs: bool
    command: Callable[[Place], Sequence[str] | str]


def filled(text: str, **pieces: object) -> str:
    """A template with its places filled in."""
    for name, value in {"BODY": BODY, **pieces}.items():
        text = text.replace(f"@{name}@", str(value))
    return text


def program(name: str) -> str | None:
    """The program named by the environment (CADDY for caddy), one beside this interpreter, or one of the system."""
    beside = str(Path(sys.executable).parent)
    return os.environ.get(name.upper()) or shutil.which(name, path=beside) or shutil.which(name) or shutil.which(
        name, path="/usr/sbin:/usr/local/sbin"
    )
