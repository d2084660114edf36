"""Sockets and the pidfile on their way to the next program."""

from __future__ import annotations

import errno
import json
import os
import socket
from pathlib import Path
from typing import Any

import pytest
from pytest_twisted import ensureDeferred
from twisted.internet import reactor

from apigateway.ports.memory import ListedEvents
from apigateway.replacement import PidFile, Replacement, _tell_service_manager, key_of
from apigateway.transport.inherited import READY, VARIABLE, Inherited, InheritedRefused, handed_over


@pytest.mark.parametrize(
    ("address", "key"),
    [("127.0.0.1:80", "127.0.0.1:80"), ("[::1]:80", "[::1]:80"), ("127.0.0.1:0", "public 127.0.0.1:0"),
     ("unix:/run/a.sock", "unix:/run/a.sock")],
)  # fmt: skip
def test_what_an_address_is_handed_over_as(address: str, key: str) -> None:
    assert key_of("public", address) == key


def test_sockets_are_taken_by_address_and_the_rest_is_closed() -> None:
    listeners = [socket.create_server(("127.0.0.1", 0)) for _ in range(3)]
    places = [one.getsockname() for one in listeners]
    reading, writing = os.pipe()
    text = handed_over([(key, one.detach()) for key, one in zip("aab", listeners, strict=True)], writing)
    environ = {VARIABLE: text, "OTHER": "1"}
    inherited = Inherited.from_environment(environ)
    assert environ == {"OTHER": "1"}
    taken = inherited.take("a")
    assert [one.getsockname() for one in taken] == places[:2]
    assert not any(one.get_inheritable() or one.getblocking() for one in taken)
    assert all(one.proto == socket.IPPROTO_TCP for one in taken)
    assert inherited.take("a") == [] and inherited.take("c") == []
    assert inherited.still_theirs("a") and not inherited.still_theirs("c")
    inherited.close_rest()
    with pytest.raises(ConnectionRefusedError):
        socket.create_connection(places[2], timeout=5)
    inherited.serves()
    assert not inherited.still_theirs("a")
    inherited.failed("only the first word counts")
    assert os.read(reading, 100) == READY and os.read(reading, 100) == b""
    os.close(reading)
    for one in taken:
        one.close()


def test_nothing_is_inherited_unless_the_environment_says_so() -> None:
    inherited = Inherited.from_environment({})
    assert inherited.take("a") == []
    inherited.close_rest()
    inherited.serves()


@pytest.mark.parametrize("text", ["{", "[]", '{"sockets": []}', '{"sockets": [["a", 99999]], "ready": 0}',
                                  json.dumps({"sockets": [["a", "x"]], "ready": 0})])  # fmt: skip
def test_what_was_not_handed_over_is_refused(text: str) -> None:
    with pytest.raises(InheritedRefused, match=VARIABLE):
        Inherited.from_environment({VARIABLE: text})


def test_a_socket_that_does_not_listen_is_refused() -> None:
    with socket.socket() as one, pytest.raises(InheritedRefused, match="does not listen"):
        Inherited.from_environment({VARIABLE: handed_over([("a", one.fileno())], 0)})


def test_the_pidfile_is_moved_aside_and_put_back_or_left(tmp_path: Path) -> None:
    file = tmp_path / "gateway.pid"
    file.write_text("1")
    options: dict[str, Any] = {"pidfile": str(file)}
    pid_file = PidFile(options)
    pid_file.move_aside()
    assert not file.exists()
    file.write_text("2")  # by the new program, which then fails
    pid_file.put_back()
    assert (file.read_text(), os.listdir(tmp_path)) == ("1", ["gateway.pid"])
    pid_file.move_aside()
    (tmp_path / "gateway.pid.oldbin").unlink()  # by the program before, which drained until now
    pid_file.put_back()
    assert (file.read_text(), os.listdir(tmp_path)) == (str(os.getpid()), ["gateway.pid"])
    pid_file.move_aside()
    file.write_text("2")
    pid_file.leave()
    assert (file.read_text(), options["pidfile"]) == ("2", f"{file}.oldbin")


@pytest.mark.parametrize("options", [None, {}, {"pidfile": ""}, {"pidfile": "/there/is/none"}])
def test_where_there_is_no_pidfile_nothing_is_done(options: dict[str, Any] | None) -> None:
    before = None if options is None else dict(options)
    pid_file = PidFile(options)
    pid_file.move_aside()
    pid_file.put_back()
    pid_file.leave()
    assert options == before


def test_the_first_process_of_a_container_is_not_replaced() -> None:
    events = ListedEvents()
    handed: list[Any] = []
    Replacement(None, events, PidFile(None), lambda: handed, lambda: handed.append("took over"), lambda: 1).begin()
    [(level, message, _)] = events.events
    assert level == "error" and "begin another container" in message
    assert handed == []


@pytest.mark.parametrize("pipe", [True, False])
def test_what_could_not_even_be_begun_is_told_and_may_be_tried_again(
    pipe: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    events, sockets = ListedEvents(), []

    def short() -> Any:
        sockets.append(None)
        raise OSError(errno.EMFILE, "Too many open files")

    if not pipe:
        monkeypatch.setattr(os, "pipe", short)
    replacement = Replacement(None, events, PidFile(None), short, lambda: None, lambda: 2)
    for _ in range(2):
        replacement.begin()
    failed = [fields["why"] for _, message, fields in events.events if message.startswith("the new program failed")]
    assert failed == ["[Errno 24] Too many open files"] * 2
    assert len(sockets) == 2


@ensureDeferred
async def test_what_was_said_while_this_program_was_stopped_is_in_time(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("apigateway.replacement.READY_WITHIN", 0.0)
    replacement = Replacement(reactor, ListedEvents(), PidFile(None), list, lambda: None)
    for said in (READY, b""):
        reading, writing = os.pipe()
        os.write(writing, said)
        answer = await replacement._answer(reading)
        assert answer == (READY if said else b"it did not serve within 0 s")
        os.close(reading)
        os.close(writing)


def test_the_service_manager_is_told(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as manager:
        manager.bind(str(tmp_path / "notify"))
        manager.settimeout(10)
        monkeypatch.setenv("NOTIFY_SOCKET", str(tmp_path / "notify"))
        _tell_service_manager("MAINPID=7")
        assert manager.recv(100) == b"MAINPID=7"
    _tell_service_manager("MAINPID=8")  # nobody listens
