"""The writer of log lines: against files, a full disk, a stuck pipe and a reader that is gone."""

from __future__ import annotations

import errno
import os
import resource
import socket
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from pytest_twisted import ensureDeferred
from twisted.internet import reactor
from twisted.internet.task import deferLater

from apigateway.adapters.log_file import LogFile, whole_lines


async def until(true: Callable[[], bool]) -> None:
    """Wait for another thread, five seconds at most."""
    for _ in range(500):
        if true():
            return
        await deferLater(reactor, 0.01)
    pytest.fail("it did not come about")


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / "log"


@pytest.fixture
def pipe(tmp_path: Path) -> Iterator[tuple[str, int]]:
    """A named pipe, and its reading end (non-blocking)."""
    name = str(tmp_path / "pipe")
    os.mkfifo(name)
    reader = os.open(name, os.O_RDONLY | os.O_NONBLOCK)
    yield name, reader
    os.close(reader)


def file_at(path: object, **settings: Any) -> LogFile:
    return LogFile(str(path), reactor, **settings)


@ensureDeferred
async def test_close_waits_until_all_is_written(path: Path) -> None:
    file = file_at(path)
    for number in range(1000):
        file.write(b"line %d\n" % number)
    await file.close()
    assert path.read_bytes() == b"".join(b"line %d\n" % number for number in range(1000))
    assert (file.lost, file.trouble) == (0, "")


@ensureDeferred
async def test_a_file_is_added_to(path: Path) -> None:
    path.write_bytes(b"before\n")
    file = file_at(path)
    file.write(b"after\n")
    await file.close()
    assert path.read_bytes() == b"before\nafter\n"


@ensureDeferred
async def test_a_new_file_is_not_for_everybody(path: Path) -> None:
    await file_at(path).close()
    assert path.stat().st_mode & 0o007 == 0


@ensureDeferred
async def test_reopen_goes_on_in_a_new_file(path: Path) -> None:
    file = file_at(path)
    file.write(b"old\n")
    moved = path.rename(path.with_name("log.1"))
    file.reopen()
    file.write(b"new\n")
    await file.close()
    assert (moved.read_bytes(), path.read_bytes()) == (b"old\n", b"new\n")


@ensureDeferred
async def test_reopen_that_fails_stays_with_the_old_file(path: Path) -> None:
    file = file_at(path)
    file.write(b"one\n")
    moved = path.rename(path.with_name("log.1"))
    path.mkdir()
    file.reopen()
    await until(lambda: "directory" in file.trouble)
    file.write(b"two\n")
    await file.close()
    assert moved.read_bytes() == b"one\ntwo\n"
    assert file.lost == 0


@ensureDeferred
async def test_a_file_that_cannot_be_closed_well_ends_no_log(path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    file = file_at(path)
    close = os.close

    def refused(descriptor: int) -> None:
        close(descriptor)
        monkeypatch.setattr(os, "close", close)
        raise OSError(errno.EDQUOT, "Disk quota exceeded")

    file.write(b"one\n")
    await until(path.exists)
    monkeypatch.setattr(os, "close", refused)
    file.reopen()
    await until(lambda: os.close is close)
    file.write(b"two\n")
    await file.close()
    assert (path.read_bytes(), file.lost) == (b"one\ntwo\n", 0)


@ensureDeferred
async def test_a_standard_output_that_is_closed_costs_lines_and_no_more() -> None:
    file = file_at("-", shared=True)
    kept = os.dup(1)
    os.close(1)
    try:
        for _ in range(2):
            file.write(b"x" * 9999 + b"\n")
        await file.close()
    finally:
        os.dup2(kept, 1)
        os.close(kept)
    assert file.lost == 2 and "Bad file descriptor" in file.trouble


def test_a_path_that_cannot_be_opened_is_an_error_at_once(tmp_path: Path) -> None:
    with pytest.raises(FileNotFoundError):
        file_at(tmp_path / "nowhere" / "log")


def test_a_pipe_that_nobody_reads_is_an_error_at_once(tmp_path: Path) -> None:
    os.mkfifo(tmp_path / "pipe")
    with pytest.raises(OSError, match="No such device"):
        file_at(tmp_path / "pipe")


@ensureDeferred
async def test_a_full_disk_costs_lines_and_counts_them() -> None:
    file = file_at("/dev/full")
    file.write(b"a\nb\nc\n", lines=3)
    file.write(b"d\n")
    await file.close()
    assert file.lost == 4
    assert "No space left" in file.trouble


@ensureDeferred
async def test_a_line_that_was_cut_spoils_no_other(path: Path) -> None:
    file = file_at(path)
    soft, hard = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (10, hard))
    try:
        file.write(b"12345\n67890\nabcde\n", lines=3)
        await until(lambda: file.lost > 0)
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, (soft, hard))
    file.write(b"whole\n")
    await file.close()
    assert path.read_bytes() == b"12345\n6789\nwhole\n"
    assert (file.lost, file.trouble) == (2, "")


@ensureDeferred
async def test_a_stuck_pipe_costs_lines_and_never_holds_who_writes(pipe: tuple[str, int]) -> None:
    name, reader = pipe
    file = file_at(name, capacity=100_000, close_timeout=5.0)
    line = b"x" * 999 + b"\n"
    began = reactor.seconds()  # type: ignore[attr-defined]
    for _ in range(1000):
        file.write(line)
    assert reactor.seconds() - began < 1.0  # type: ignore[attr-defined]
    assert 700 < file.lost < 1000
    kept = 1000 - file.lost
    closed = file.close()
    read = bytearray()

    def drained() -> bool:
        try:
            read.extend(os.read(reader, 65536))
        except BlockingIOError:
            return False
        return len(read) == kept * 1000

    await until(drained)
    await closed
    assert bytes(read) == line * kept


@ensureDeferred
async def test_closing_on_a_stuck_pipe_ends(pipe: tuple[str, int]) -> None:
    file = file_at(pipe[0], close_timeout=0.05)
    file.write(b"x" * 200_000 + b"\n")
    assert await file.close() is None


@ensureDeferred
async def test_a_reader_that_is_gone_costs_lines(tmp_path: Path) -> None:
    name = str(tmp_path / "pipe")
    os.mkfifo(name)
    reader = os.open(name, os.O_RDONLY | os.O_NONBLOCK)
    file = file_at(name)
    os.close(reader)
    file.write(b"one\n")
    await file.close()
    assert (file.lost, file.trouble) == (1, "[Errno 32] Broken pipe")


@ensureDeferred
async def test_what_comes_after_close_is_lost_and_counted(path: Path) -> None:
    file = file_at(path)
    file.write(b"one\n")
    first = file.close()
    file.write(b"two\n")
    file.reopen()
    await first
    await file.close()
    assert (path.read_bytes(), file.lost) == (b"one\n", 1)


@ensureDeferred
async def test_standard_output(capfd: pytest.CaptureFixture[str]) -> None:
    file = file_at("-")
    file.write(b"to stdout\n")
    file.reopen()
    file.write(b"still\n")
    await file.close()
    assert capfd.readouterr().out == "to stdout\nstill\n"
    assert os.write(1, b"") == 0  # it was not closed


# ---- several processes, one pipe


@pytest.mark.parametrize(
    ("octets", "most", "parts"),
    [
        (b"", 5, []),
        (b"ab\ncd\n", 100, [b"ab\ncd\n"]),
        (b"ab\ncd\n", 5, [b"ab\n", b"cd\n"]),
        (b"ab\ncd\n", 3, [b"ab\n", b"cd\n"]),
        (b"a long line\nab\n", 4, [b"a long line\n", b"ab\n"]),
        (b"a\nb\nc\nd\n", 4, [b"a\nb\n", b"c\nd\n"]),
        (b"no end", 3, [b"no end"]),
    ],
)
def test_lines_are_grouped_whole(octets: bytes, most: int, parts: list[bytes]) -> None:
    assert list(whole_lines(octets, most)) == parts


WRITES = """
import os
import sys
from twisted.internet.defer import Deferred
from apigateway.adapters.log_file import LogFile

class Now:
    def callFromThread(self, function): done.append(function)
    def callLater(self, seconds, function): return Deferred()

done = []
file = LogFile("-", Now(), shared=True, capacity=1 << 30)
line = sys.argv[1].encode() * 199 + b"\\n"
os.write(1, b"here")
sys.stdin.read()  # until all are
for _ in range(40):
    file.write(line * 1000, lines=1000)
thread = file._thread
file.close()
thread.join()
sys.exit(file.lost)
"""


def test_lines_of_several_processes_stay_whole_on_a_socket() -> None:
    ours, theirs = socket.socketpair()
    waiting, go = os.pipe()
    with ours:
        with theirs, open(waiting) as gate:
            writers = [
                subprocess.Popen([sys.executable, "-c", WRITES, name], stdin=gate, stdout=theirs) for name in "abc"
            ]
        ours.settimeout(60)
        here = b""
        while len(here) < len(b"here" * 3):
            here += ours.recv(100)
        os.close(go)
        lines = b"".join(iter(lambda: ours.recv(65536), b"")).splitlines()
    assert [writer.wait(60) for writer in writers] == [0, 0, 0]
    assert set(lines) == {name * 199 for name in (b"a", b"b", b"c")}
    assert len(lines) == 3 * 40_000
