"""The last good configuration on disk."""

from __future__ import annotations

import os
import stat
import subprocess
import sys
from pathlib import Path

import pytest

from apigateway.config import last_good
from apigateway.config.load import load_file
from apigateway.errors import ConfigurationRefused

from .builders import configuration

EXAMPLE = load_file(Path(__file__).with_name("example.yaml")).configuration


def test_what_is_stored_is_loaded(tmp_path: Path) -> None:
    path = tmp_path / "last-good.json"
    last_good.store(path, EXAMPLE)
    assert last_good.load(path) == EXAMPLE
    assert stat.S_IMODE(path.stat().st_mode) == 0o600
    assert [entry.name for entry in tmp_path.iterdir()] == ["last-good.json"]


def test_the_newest_is_kept_and_a_leftover_is_no_obstacle(tmp_path: Path) -> None:
    path = tmp_path / "last-good.json"
    (tmp_path / f".last-good.json.{os.getpid()}.new").write_text("left by one that was killed")
    last_good.store(path, EXAMPLE)
    last_good.store(path, configuration())
    assert last_good.load(path) == configuration()


def test_what_others_write_is_left_alone_and_what_the_dead_left_is_removed(tmp_path: Path) -> None:
    path = tmp_path / "last-good.json"
    other, old, older = (tmp_path / f".last-good.json.{name}new" for name in ("1.", "2.", ""))
    for file in (other, old, older):
        file.write_text("half of it")
    for file in (old, older):
        os.utime(file, (1e9, 1e9))
    last_good.store(path, EXAMPLE)
    assert sorted(tmp_path.iterdir()) == [other, path]


def test_several_processes_store_at_the_same_time(tmp_path: Path) -> None:
    code = (
        "import sys; from apigateway.config import last_good; from apigateway.config.load import load_file\n"
        "read = load_file(sys.argv[1]).configuration\n"
        "for _ in range(30): last_good.store(sys.argv[2], read)"
    )
    path = tmp_path / "last-good.json"
    command = [sys.executable, "-c", code, str(Path(__file__).with_name("example.yaml")), str(path)]
    writers = [subprocess.Popen(command) for _ in range(3)]
    assert [writer.wait(60) for writer in writers] == [0, 0, 0]
    assert last_good.load(path) == EXAMPLE
    assert list(tmp_path.iterdir()) == [path]


def test_the_order_of_settings_is_kept(tmp_path: Path) -> None:
    step = {"policy": "set-headers", "with": {"set": {"z": "1", "a": "2"}}}
    last_good.store(tmp_path / "f", configuration("/pre_flow/request", [step]))
    assert list(last_good.load(tmp_path / "f").pre_flow.request[0].settings["set"]) == ["z", "a"]


@pytest.mark.parametrize(
    ("damage", "message"),
    [
        (lambda octets: octets[:-20], "is damaged: its checksum does not match"),
        (lambda octets: octets.replace(b"9001", b"9002"), "is damaged: its checksum does not match"),
        (lambda octets: octets + b" ", "is damaged: its checksum does not match"),
        (
            lambda octets: octets.replace(b"sha256=", b"sha256=\xff"),
            "is damaged: its checksum does not match",
        ),
        (lambda octets: octets.partition(b"\n")[2], "of a format that is known"),
        (lambda octets: octets.replace(b"last-good 1", b"last-good 2"), "of a format that is known"),
        (lambda octets: b"", "of a format that is known"),
    ],
)
def test_a_damaged_file_is_told(tmp_path: Path, damage: object, message: str) -> None:
    path = tmp_path / "last-good.json"
    last_good.store(path, EXAMPLE)
    assert callable(damage)
    path.write_bytes(damage(path.read_bytes()))
    with pytest.raises(ConfigurationRefused) as refusal:
        last_good.load(path)
    [problem] = refusal.value.problems
    assert problem.file == str(path)
    assert message in problem.message


def test_a_missing_file_is_told(tmp_path: Path) -> None:
    with pytest.raises(ConfigurationRefused, match="cannot be read: No such file or directory"):
        last_good.load(tmp_path / "none")


def test_a_store_that_fails_leaves_the_old_one(tmp_path: Path) -> None:
    path = tmp_path / "last-good.json"
    last_good.store(path, EXAMPLE)
    (tmp_path / f".last-good.json.{os.getpid()}.new").mkdir()
    with pytest.raises(OSError, match=r"last-good"):
        last_good.store(path, configuration())
    assert last_good.load(path) == EXAMPLE
