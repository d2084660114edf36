"""A program for each test, ended with everything that it began."""

from __future__ import annotations

import socket
from collections.abc import Iterator
from pathlib import Path

import pytest
from supervised import Program
from toolkit.fixtures import stage

from apigateway.cli.demo_processes import Processes
from apigateway.config.addresses import TcpAddress

__all__ = ["program", "stage"]


@pytest.fixture
def program(tmp_path: Path) -> Iterator[Program]:
    with socket.socket() as one, socket.socket() as two:
        for probe in (one, two):
            probe.bind(("127.0.0.1", 0))
        addresses = (TcpAddress("127.0.0.1", one.getsockname()[1]), TcpAddress("127.0.0.1", two.getsockname()[1]))
    processes = Processes(print)
    program = Program(tmp_path, processes, addresses)
    yield program
    program.end()
    processes.end()
