"""What a worker prepares beside what runs, and lets go of before it is built: nothing of it stays."""

from __future__ import annotations

import gc
import json
from pathlib import Path
from typing import Any

import pytest
from pytest_twisted import ensureDeferred
from toolkit.gateway import Gateway
from toolkit.stage import Stage
from toolkit.waiting import until
from twisted.internet.defer import Deferred

from apigateway.assembly import check_file
from apigateway.config.model import Configuration
from apigateway.dataplane.building import PreparedRevision
from apigateway.errors import ConfigurationRefused
from apigateway.supervisor import messages
from apigateway.supervisor.preparing import Preparing
from apigateway.supervisor.service import body_of
from apigateway.traffic import candidate_of

NOTED = '''"""Notes what becomes of it."""
from pathlib import Path
from pydantic import Field
from twisted.internet.defer import Deferred
from zope.interface import implementer
from apigateway.config.model import Settings
from apigateway.flow.interfaces import IOnRequest
from apigateway.flow.kinds import Call, Example, kind


class Config(Settings):
    name: str = Field(default="", description="Stands in the notes.")
    file: str = Field(default="/dev/null", description="Of the notes.")
    hangs: bool = Field(default=False, description="It is never provisioned.")


@implementer(IOnRequest)
class Noted:
    def __init__(self, config):
        self._config = config

    def _note(self, what):
        with open(self._config.file, "a") as file:
            file.write(f"{what} {self._config.name}\\n")

    def provision(self, services):
        self._note("provision")
        return Deferred() if self._config.hangs else None

    def close(self):
        self._note("close")

    def on_request(self, exchange):
        return None


KIND = kind("noted", config=Config, policy=Noted)
EXAMPLES = (Example("Is fine", {}, (Call(status=200),)),)
'''


class Part:
    """A worker's part, with the worker of a gateway."""

    def __init__(self, gateway: Gateway, folder: Path) -> None:
        self.gateway, self.folder, self.said = gateway, folder, []  # type: ignore[var-annotated]
        self.part = Preparing(self._build, self.said.append, lambda: "", lambda failure: None)
        self.preparation = 0

    def _build(self, body: bytes) -> Deferred[PreparedRevision]:
        async def read() -> Any:
            checked = check_file(str(self.gateway.file), serving=True, parts=self.gateway.service._parts)
            return candidate_of(checked)

        return Deferred.fromCoroutine(self.gateway.worker.prepare(lambda: Deferred.fromCoroutine(read())))

    def prepare(self, *names: str) -> int:
        self.gateway.write(settings(self.folder, *names))
        self.preparation += 1
        self.part.prepare(messages.Prepare(self.preparation, self.preparation))
        return self.preparation

    def notes(self) -> list[str]:
        return (self.folder / "notes").read_text().splitlines()


def settings(folder: Path, *names: str) -> dict[str, Any]:
    steps = [
        {"policy": "noted", "with": {"name": name, "file": str(folder / "notes"), "hangs": name == "hangs"}}
        for name in names
    ]
    return {
        "policy_paths": ["policies"],
        "apis": [{"name": "a", "routes": [{"name": "r", "pre_flow": {"request": steps}}]}],
    }


async def part_of(stage: Stage, folder: Path) -> Part:
    (folder / "policies").mkdir()
    (folder / "policies/noted.py").write_text(NOTED)
    return Part(await stage.serve(settings(folder, "first")), folder)


@pytest.mark.parametrize("how", ["discard", "prepare"])
@ensureDeferred
async def test_what_is_let_go_of_while_it_is_built_is_freed(stage: Stage, tmp_path: Path, how: str) -> None:
    part = await part_of(stage, tmp_path)
    thresholds = gc.get_threshold()
    preparation = part.prepare("begun", "hangs")
    await until(lambda: "provision hangs" in part.notes(), part.notes)
    if how == "discard":
        part.part.discard(preparation)
        assert gc.get_threshold() == thresholds
    preparation = part.prepare("next")
    await until(lambda: part.said == [messages.Prepared(preparation)], lambda: part.said)
    assert part.notes() == [
        "provision first", "provision begun", "provision hangs", "close begun", "provision next",
    ]
    part.part.commit(preparation)
    assert part.said[1:] == [messages.Committed(preparation, preparation, "")]
    await until(lambda: part.notes()[-1] == "close first", part.notes)
    assert gc.get_threshold() == thresholds
    assert part.gateway.worker.status()["revisions_in_use"] == 1


@ensureDeferred
async def test_what_is_prepared_and_let_go_of_is_closed(stage: Stage, tmp_path: Path) -> None:
    part = await part_of(stage, tmp_path)
    preparation = part.prepare("second")
    await until(lambda: part.said == [messages.Prepared(preparation)], lambda: part.said)
    part.part.discard(preparation + 1)  # of another one
    assert part.notes()[-1] == "provision second"
    part.part.discard(preparation)
    assert part.notes()[-1] == "close second"
    assert (await part.gateway.reload())["taken"]


def test_a_configuration_that_is_too_large_to_tell_is_refused() -> None:
    configuration = Configuration.model_validate({"version": 1, "listeners": [{"name": "a", "address": "127.0.0.1:0"}]})
    assert json.loads(body_of(configuration, 1000))["listeners"][0]["name"] == "a"
    with pytest.raises(ConfigurationRefused, match="at most 10 octets as JSON"):
        body_of(configuration, 10)
