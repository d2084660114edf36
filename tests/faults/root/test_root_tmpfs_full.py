"""Fault 34, disk full, on a disk that is full: a tmpfs of 1 MB that nobody but the process sees."""

from __future__ import annotations

import os
import signal
from pathlib import Path

from disk_full import lost, traffic_goes_on, traffic_until_lost, whole_lines
from gateway_process import GatewayProcess, eventually, fetched, process_on
from pytest_twisted import ensureDeferred
from toolkit.settings import api, route, simple
from toolkit.stage import Stage
from toolkit.waiting import until

# The namespace, and the mount in it, end with the process.
MOUNTED = ("unshare", "--mount", "sh", "-c", 'mount -t tmpfs -o size=1m tmpfs "$0" && exec "$@"')


async def on_tmpfs(stage: Stage, settings: dict[str, object]) -> tuple[GatewayProcess, Path]:
    """A gateway whose folder `small` is of 1 MB, and that folder as seen from here."""
    small = stage.folder / "small"
    small.mkdir()
    logs = {"access": "small/access.log", "error": "small/error.log"}
    gateway = await process_on(stage, {**settings, "logs": logs}, before=(*MOUNTED, str(small)))
    inside = Path(f"/proc/{gateway.process.pid}/root{small}")
    assert os.stat(inside).st_dev != os.stat(small).st_dev
    return gateway, inside


def fill(folder: Path) -> Path:
    """A file that takes what room there is."""
    filler = folder / "filler"
    with filler.open("wb", buffering=0) as file:
        try:
            while True:
                file.write(b"x" * 4096)
        except OSError:
            return filler


@ensureDeferred
async def test_the_logs_go_on_where_there_is_room_again(stage: Stage) -> None:
    origin = await stage.origin()
    gateway, inside = await on_tmpfs(stage, simple(origin))
    client = await stage.client()
    await traffic_goes_on(client)
    await until(lambda: whole_lines(inside / "access.log") == 50)
    filler = fill(inside)
    asked = 50 + await traffic_until_lost(gateway, client, "access", 50)
    assert len(origin.asked) == asked

    filler.unlink()
    assert await fetched(client, "/after") == 200
    await until(lambda: b'"/after"' in (inside / "access.log").read_bytes())
    assert whole_lines(inside / "access.log") + await lost(gateway, "access") == asked + 1


@ensureDeferred
async def test_the_log_fills_the_disk_by_itself(stage: Stage) -> None:
    origin = await stage.origin()
    gateway, inside = await on_tmpfs(stage, simple(origin))
    client = await stage.client()
    long = "/" + "a" * 7000

    async def full() -> bool:
        for _ in range(20):
            assert await fetched(client, long) == 200
        return await lost(gateway, "access") >= 20

    await eventually(full)
    assert (inside / "access.log").stat().st_size > 500_000
    # Rotated away, as an operator does: it goes on in a new file.
    (inside / "access.log").unlink()
    gateway.process.send_signal(signal.SIGHUP)
    await until((inside / "access.log").exists)
    assert await fetched(client, "/after") == 200
    await until(lambda: b'"/after"' in (inside / "access.log").read_bytes())


@ensureDeferred
async def test_a_revision_that_cannot_be_kept_is_taken_all_the_same(stage: Stage) -> None:
    origin = await stage.origin()
    gateway, inside = await on_tmpfs(stage, simple(origin, data_dir="small/data"))
    kept = inside / "data" / "last-good.json"
    await until(kept.exists)
    before = kept.read_bytes()
    filler = fill(inside)
    many = [api(route(), name=f"n{number}", base_path=f"/n{number}") for number in range(50)]
    logs = {"access": "small/access.log", "error": "small/error.log"}
    gateway.write({**simple(origin, *many, data_dir="small/data"), "logs": logs})
    gateway.process.send_signal(signal.SIGHUP)
    client = await stage.client()

    async def taken() -> bool:
        return await fetched(client, "/n49") == 200 and await fetched(client, "/elsewhere") == 404

    await eventually(taken)
    assert kept.read_bytes() == before
    filler.unlink()
    gateway.process.send_signal(signal.SIGHUP)
    await until(lambda: kept.read_bytes() != before, within=10.0)
    assert [path.name for path in kept.parent.iterdir()] == [kept.name]
