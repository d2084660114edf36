"""Quotas in a file: exact over processes, there after kill -9, and no request waits for a disk that does not answer."""

from __future__ import annotations

import os
import signal
import sqlite3
import subprocess
import sys
import threading
from contextlib import suppress

import pytest
import pytest_twisted
from pytest_twisted import ensureDeferred
from twisted.internet import reactor
from twisted.internet.defer import DeferredList, gatherResults

from apigateway.adapters import quota_file
from apigateway.adapters.quota_file import FileQuotas
from apigateway.adapters.quota_table import KEPT_AFTER, UNUSED, QuotaTable
from apigateway.adapters.system import ReactorTimers, SystemClock
from apigateway.ports.interfaces import Quota, StoreUnavailable
from apigateway.ports.memory import ListedEvents, ManualClock

NOW = 1_700_000_000.0
EDGES = (NOW - 50.0, NOW + 50.0)
WORKER = """
import sys
from pathlib import Path
from apigateway.adapters.quota_table import QuotaTable
from apigateway.ports.interfaces import Quota
path, limit, times = Path(sys.argv[1]), int(sys.argv[2]), int(sys.argv[3])
table = QuotaTable(path, lambda: 1700000000.0, 30.0)
sys.stdin.readline()
for _ in range(times):
    (decision,) = table.together([lambda table: table.consume([Quota("k", limit)], 1)])
    if decision.granted:
        sys.stdout.write("+")
        sys.stdout.flush()
"""


class Held:
    """File quotas, and what they told."""

    def __init__(self, path, clock) -> None:
        self.path, self.clock = path, clock
        self.events = ListedEvents()
        self.opened = []

    def open(self):
        one = FileQuotas(self.path, self.clock, ReactorTimers(reactor), reactor.callFromThread, self.events)
        self.opened.append(one)
        return one

    @property
    def told(self):
        return [(level, message, fields["why"]) for level, message, fields in self.events.events]


@pytest_twisted.async_yield_fixture
async def held(tmp_path):
    held = Held(tmp_path / "data" / "quotas.sqlite", ManualClock(wall=NOW))
    yield held
    for one in held.opened:
        await one.close()


def used(path, key="k"):
    with sqlite3.connect(path) as connection:
        return sum(row[0] for row in connection.execute("SELECT used FROM counter WHERE key = ?", (key.encode(),)))


def workers(path, count, limit, times):
    return [
        subprocess.Popen(
            [sys.executable, "-c", WORKER, str(path), str(limit), str(times)],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            bufsize=0,
        )
        for _ in range(count)
    ]


def begin(processes):
    for process in processes:
        process.stdin.write(b"\n")
        process.stdin.flush()


# ---- several processes


def test_workers_that_begin_at_once_share_it_exactly(tmp_path):
    """The file is not there yet: they make it, too."""
    path = tmp_path / "quotas.sqlite"
    processes = workers(path, 4, 250, 100)
    begin(processes)
    granted = [process.communicate()[0].count(b"+") for process in processes]
    assert [process.returncode for process in processes] == [0] * 4
    assert sum(granted) == used(path) == 250


def test_what_a_killed_worker_was_granted_is_counted(tmp_path):
    path = tmp_path / "quotas.sqlite"
    killed, other = processes = workers(path, 2, 1_000_000, 2000)
    begin(processes)
    seen = b""
    while len(seen) < 50:
        seen += killed.stdout.read(50)
    os.kill(killed.pid, signal.SIGKILL)
    seen += killed.communicate()[0]
    told = other.communicate()[0]
    assert other.returncode == 0 and len(told) == 2000
    # One that was killed between its transaction and its answer was counted, and nobody heard of it.
    assert len(seen) <= used(path) - 2000 <= len(seen) + 1


# ---- one process


@ensureDeferred
async def test_counters_outlive_the_process(held):
    first = held.open()
    for _ in range(3):
        assert (await first.consume([Quota("k", 3)])).granted
    await first.close()
    second = held.open()
    assert not (await second.consume([Quota("k", 3)])).granted


@ensureDeferred
async def test_nothing_is_opened_before_it_is_used(held):
    one = held.open()
    assert not held.path.parent.exists()
    before = threading.active_count()
    await one.close()
    assert threading.active_count() == before


@ensureDeferred
async def test_the_calls_of_a_turn_are_one_transaction(held):
    quotas, batches = held.open(), []
    together = quotas._table.together
    quotas._table.together = lambda work: (batches.append(len(work)), together(work))[1]
    decisions = await gatherResults([quotas.consume([Quota("k", 60)]) for _ in range(100)])
    assert batches == [100]
    assert [decision.granted for decision in decisions] == [True] * 60 + [False] * 40
    await gatherResults([quotas.consume([Quota("k", 1000)]) for _ in range(250)])
    assert batches == [100, 200, 50]


@ensureDeferred
async def test_who_leaves_meanwhile_disturbs_nobody(held):
    quotas = held.open()
    leaving, staying = quotas.consume([Quota("k", 5)]), quotas.consume([Quota("k", 5)])
    leaving.addErrback(lambda failure: None)
    leaving.cancel()
    assert (await staying).standings[0].remaining == 3


@ensureDeferred
async def test_after_its_end_it_takes_nothing(held):
    quotas = held.open()
    await quotas.consume([Quota("k", 5)])
    waiting = quotas.consume([Quota("k", 5)])
    await quotas.close()
    with pytest.raises(StoreUnavailable):
        await waiting
    with pytest.raises(StoreUnavailable):
        quotas.consume([Quota("k", 5)])
    await quotas.close()


# ---- a file that does not take it


@ensureDeferred
async def test_a_folder_that_cannot_be_made(held):
    held.path.parent.write_text("a file")
    quotas = held.open()
    for _ in range(3):
        with pytest.raises(StoreUnavailable):
            await quotas.consume([Quota("k", 5)])
    assert len(held.told) == 1 and held.told[0][:2] == ("error", "quotas cannot be counted")
    held.path.parent.unlink()
    assert (await quotas.consume([Quota("k", 5)])).granted


@ensureDeferred
async def test_a_file_that_is_something_else_is_left_alone(held):
    text = b"no database, but long enough to be read as one" * 50
    held.path.parent.mkdir()
    held.path.write_bytes(text)
    with pytest.raises(StoreUnavailable):
        await held.open().consume([Quota("k", 5)])
    assert "not a database" in held.told[0][2]
    assert held.path.read_bytes() == text


@ensureDeferred
async def test_a_file_of_a_newer_version_is_left_alone(held):
    first = held.open()
    await first.consume([Quota("k", 5)])
    await first.close()
    with sqlite3.connect(held.path) as connection:
        connection.execute("PRAGMA user_version = 99")
    with pytest.raises(StoreUnavailable):
        await held.open().consume([Quota("k", 5)])
    assert "format 99" in held.told[0][2]
    assert used(held.path) == 1


@ensureDeferred
async def test_a_full_disk(held):
    """As SQLite says it; nothing of the batch was counted, and when there is room it goes on."""
    quotas = held.open()
    await quotas.consume([Quota("k", 5)])
    pages = await quotas._ask(lambda table: table._connection.execute("PRAGMA max_page_count = 8").fetchone()[0])
    large = [quotas.consume([Quota("big" * 3000 + str(number), 5)]) for number in range(20)]
    results = await DeferredList(large, consumeErrors=True)
    assert {failure.type for _, failure in results} == {StoreUnavailable}
    assert pages and "full" in held.told[0][2]
    assert used(held.path) == 1
    # The file was opened anew, without the bound.
    assert (await quotas.consume([Quota("big" * 3000, 5)])).granted


@ensureDeferred
async def test_a_lock_that_somebody_holds(held, monkeypatch):
    monkeypatch.setattr(quota_file, "PATIENCE", 0.1)
    quotas = held.open()
    await quotas.consume([Quota("k", 5)])
    other = sqlite3.connect(held.path, isolation_level=None)
    other.execute("BEGIN IMMEDIATE")
    with pytest.raises(StoreUnavailable):
        await quotas.consume([Quota("k", 5)])
    other.execute("ROLLBACK")
    other.close()
    decision = None
    while decision is None:
        with suppress(StoreUnavailable):
            decision = await quotas.consume([Quota("k", 5)])
    assert decision.standings[0].remaining == 3


@ensureDeferred
async def test_a_disk_that_does_not_answer(held, monkeypatch):
    monkeypatch.setattr(quota_file, "PATIENCE", 0.05)
    quotas, stuck = held.open(), threading.Event()
    waits = quotas._ask(lambda table: stuck.wait(30))
    with pytest.raises(StoreUnavailable) as caught:
        await waits
    assert "no answer from the disk" in str(caught.value)
    with pytest.raises(StoreUnavailable):  # at once, and it is not even asked
        quotas.consume([Quota("k", 5)])
    stuck.set()
    decision = None
    while decision is None:
        try:
            decision = await quotas.consume([Quota("k", 5)])
        except StoreUnavailable:
            await _turn()
    assert decision.standings[0].remaining == 4
    assert len(held.told) == 1


async def _turn():
    from twisted.internet.task import deferLater

    await deferLater(reactor, 0.005)


# ---- what is forgotten


def test_windows_that_are_over_go_after_a_day(tmp_path):
    clock = ManualClock(wall=NOW)
    table = QuotaTable(tmp_path / "q", clock.wall, 1.0)
    for number in range(50):
        table.together([lambda table, number=number: table.consume([Quota(f"k{number}", 5, EDGES)], 1)])
    table.together([lambda table: table.consume([Quota("never", 5)], 1)])

    def rows():
        return table._connection.execute("SELECT count(*) FROM counter").fetchone()[0]

    clock.advance(50.0 + KEPT_AFTER - 1.0)
    table.together([])
    assert rows() == 51
    clock.advance(62.0)
    table.together([])
    assert rows() == 1
    clock.advance(UNUSED - KEPT_AFTER - 200.0)
    table.together([lambda table: table.consume([Quota("never", 5)], 1)])
    clock.advance(UNUSED - 61.0)
    table.together([])
    assert rows() == 1
    clock.advance(200.0)
    table.together([])
    assert rows() == 0
    table.close()


def test_the_files_are_their_owner_s(tmp_path):
    table = QuotaTable(tmp_path / "q", lambda: NOW, 1.0)
    table.together([lambda table: table.consume([Quota("k", 5)], 1)])
    assert {path.name: path.stat().st_mode & 0o777 for path in tmp_path.iterdir()} == {
        "q": 0o600, "q-wal": 0o600, "q-shm": 0o600
    }
    table.close()


def test_the_clock_is_the_one_on_the_wall(tmp_path):
    table = QuotaTable(tmp_path / "q", SystemClock.wall, 1.0)
    (usage,) = table.together([lambda table: table.usage([Quota("k", 5, (0.0, 4e9))])])[0]
    assert usage == ("k", 0, 0.0, 4e9)
    table.close()
