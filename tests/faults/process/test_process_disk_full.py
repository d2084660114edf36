"""Fault 34, disk full: logs lose lines, which are counted and told; traffic, reloads and the end of the process do not.

The same with a disk that is really full: tests/faults/root.
"""

from __future__ import annotations

import signal

import pytest
from disk_full import lost, traffic_goes_on, traffic_until_lost, whole_lines
from gateway_process import eventually, fetched, process_on
from pytest_twisted import ensureDeferred
from toolkit.settings import api, route, simple
from toolkit.stage import Stage
from toolkit.waiting import until


@ensureDeferred
async def test_a_full_disk_under_the_access_log_costs_its_lines_and_is_told(stage: Stage) -> None:
    origin = await stage.origin()
    logs = {"access": "/dev/full", "error": "error.log"}
    gateway = await process_on(stage, simple(origin, logs=logs))
    await traffic_goes_on(await stage.client())
    assert len(origin.asked) == 50
    told = await gateway.event("access log lines were lost")
    assert told["reason"].endswith("No space left on device") and told["level"] == "error"
    assert told["lost"] >= 1
    client = await stage.client()
    asked = 50 + await traffic_until_lost(gateway, client, "access", 50)
    assert await lost(gateway, "access") <= asked
    assert await lost(gateway, "error") == 0


@pytest.mark.parametrize("access", ["/dev/full", "access.log", "off"])
@ensureDeferred
async def test_a_full_disk_under_the_error_log_holds_nothing_up(stage: Stage, access: str) -> None:
    origin = await stage.origin(lambda asked: asked.connection.reset())
    logs = {"access": access, "error": "/dev/full"}
    up = {"retry": {"attempts": 1}}
    gateway = await process_on(stage, simple(origin, logs=logs, up=up))
    client = await stage.client()
    for _ in range(10):
        assert await fetched(client) == 502  # each of which is worth a line

    async def counted() -> bool:
        return await fetched(client) == 502 and await lost(gateway, "error") >= 10

    await eventually(counted)
    if access == "access.log":
        assert (await gateway.line())["status"] == 502


@ensureDeferred
async def test_a_log_that_may_not_grow_goes_on_when_it_may(stage: Stage) -> None:
    origin = await stage.origin()
    gateway = await process_on(stage, simple(origin))
    client = await stage.client()
    await traffic_goes_on(client)
    await until(lambda: len(gateway.access()) == 50)
    file = gateway.folder / "access.log"
    gateway.limit_files(file.stat().st_size + 100)  # in the middle of a line
    asked = 50 + await traffic_until_lost(gateway, client, "access")
    await gateway.event("access log lines were lost")

    gateway.limit_files(None)
    assert await fetched(client, "/after") == 200
    await until(lambda: b'"/after"' in file.read_bytes())
    # Every request is accounted for: as a line, or as one that is lost. What was cut spoils no other line.
    assert whole_lines(file) + await lost(gateway, "access") == asked + 1


@ensureDeferred
async def test_a_revision_that_cannot_be_kept_is_taken_all_the_same(stage: Stage) -> None:
    origin = await stage.origin()
    many = [api(route(), name=f"n{number}", base_path=f"/n{number}") for number in range(50)]
    gateway = await process_on(stage, simple(origin, data_dir="data"))
    kept = gateway.folder / "data" / "last-good.json"
    await until(kept.exists)
    before = kept.read_bytes()
    gateway.limit_files(len(before) + 100)
    gateway.write(simple(origin, *many, data_dir="data"))
    gateway.process.send_signal(signal.SIGHUP)
    told = await gateway.event("the last good revision was not stored")
    assert "File too large" in told["why"]
    assert await fetched(await stage.client(), "/n49") == 200
    # What was good stays whole, and no half of the other lies beside it.
    assert kept.read_bytes() == before
    assert [path.name for path in kept.parent.iterdir()] == [kept.name]
