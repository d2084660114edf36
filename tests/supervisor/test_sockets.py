"""The sockets of slots: how many there are, and whose the files are."""

from __future__ import annotations

import os
import socket
import sys
from collections.abc import Iterator
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
from toolkit.ports import free_port
from twisted.internet.error import CannotListenError

from apigateway.supervisor.sockets import SocketTable
from apigateway.transport.inherited import Inherited
from apigateway.transport.listening import bind_socket

LINUX = sys.platform == "linux"


@pytest.fixture
def open_ones() -> Iterator[list[Any]]:
    """Closed after the test."""
    opened: list[Any] = []
    yield opened
    for one in opened:
        one.close()


def listeners(*addresses: str) -> list[Any]:
    return [SimpleNamespace(name=f"l{number}", address=address) for number, address in enumerate(addresses)]


def of_before(count: int, open_ones: list[Any]) -> tuple[str, list[socket.socket]]:
    """Sockets that a program before listens on, and their address."""
    sockets = [bind_socket(("127.0.0.1", 0), backlog=5, reuse_port=True)]
    place = sockets[0].getsockname()
    sockets += [bind_socket(place, backlog=5, reuse_port=True) for _ in range(count - 1)]
    open_ones += sockets
    return f"127.0.0.1:{place[1]}", sockets


def test_each_slot_has_its_socket_where_the_kernel_shares_out(open_ones: list[Any]) -> None:
    table = SocketTable(listeners(f"127.0.0.1:{free_port()}"), 3, Inherited())
    table.bind()
    open_ones.append(table)
    [descriptors] = table.descriptors().values()
    assert len(set(descriptors)) == (3 if LINUX else 1)
    assert (table.slots, len(table.handed_over())) == (3, len(set(descriptors)))


@pytest.mark.parametrize(
    ("before", "workers", "slots"),
    [(1, 3, [0, 0, 0]), (2, 3, [0, 1, 0]), (2, 4, [0, 1, 0, 1]), (2, 2, [0, 1]), (3, 2, [0, 1, 2])],
)
def test_more_workers_share_what_was_inherited(
    open_ones: list[Any], before: int, workers: int, slots: list[int]
) -> None:
    """Nobody listens beside the program before until it is told to end: it would not accept there."""
    address, sockets = of_before(before, open_ones)
    table = SocketTable(listeners(address), workers, Inherited([(address, one) for one in sockets]))
    table.bind()
    assert table.slots == len(slots)
    assert table.descriptors() == {address: [sockets[slot].fileno() for slot in slots]}
    assert table.handed_over() == [(address, one.fileno()) for one in sockets]


def test_an_address_of_others_is_told(open_ones: list[Any]) -> None:
    address, _ = of_before(1, open_ones)
    with pytest.raises(CannotListenError, match="in use"):
        SocketTable(listeners(address), 2, Inherited()).bind()


@pytest.mark.parametrize("serves", [False, True])
def test_files_of_the_program_before_are_removed_by_who_served(
    tmp_path: Path, open_ones: list[Any], serves: bool
) -> None:
    theirs, ours = tmp_path / "theirs.sock", tmp_path / "ours.sock"
    one = bind_socket(str(theirs), backlog=5, reuse_port=False)
    open_ones.append(one)
    inherited = Inherited([(f"unix:{theirs}", one)])
    table = SocketTable(listeners(f"unix:{theirs}", f"unix:{ours}"), 2, inherited)
    table.bind()
    open_ones.append(table)
    if serves:
        inherited.serves()
    table.remove_files()
    assert (theirs.exists(), ours.exists()) == (not serves, False)


def test_a_file_that_somebody_removed_stops_nothing(tmp_path: Path, open_ones: list[Any]) -> None:
    path = tmp_path / "a.sock"
    one = bind_socket(str(path), backlog=5, reuse_port=False)
    open_ones.append(one)
    os.unlink(path)
    table = SocketTable(listeners(f"unix:{path}"), 2, Inherited([(f"unix:{path}", one)]))
    table.bind()
    path.write_text("precious")
    table.remove_files()
    assert path.read_text() == "precious"
