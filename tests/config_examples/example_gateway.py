"""Serves an example: its services, and a gateway of its own, in processes of their own."""

from __future__ import annotations

import http.client
import json
import os
import signal
import ssl
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from free_ports import on_free_ports

from apigateway.cli.demo_processes import Processes
from apigateway.cli.demo_setting import make_certificates, setting_of
from apigateway.config.load import load_file
from apigateway.config.paths import absolute

EXAMPLES = Path(__file__).parents[2] / "config"


@dataclass
class Answer:
    """A response, read to its end."""

    status: int
    headers: dict[str, str]
    body: bytes

    @property
    def json(self) -> Any:
        return json.loads(self.body)


@dataclass
class Served:
    """A running example. ports: as written to as served; pids: of its services, by name."""

    folder: Path
    ports: dict[int, int]
    pids: dict[str, int]

    def ask(
        self,
        target: str,
        headers: dict[str, str] | None = None,
        *,
        method: str = "GET",
        port: int = 8080,
        tls: ssl.SSLContext | None = None,
        name: str = "127.0.0.1",
    ) -> Answer:
        """One request on a connection of its own; name: the server's, for SNI and Host."""
        connection = http.client.HTTPConnection("127.0.0.1", self.ports[port], timeout=20)
        try:
            connection.connect()
            if tls is not None:
                connection.sock = tls.wrap_socket(connection.sock, server_hostname=name)
            host = {} if name == "127.0.0.1" else {"Host": name}
            connection.request(method, target, headers={**host, **(headers or {})})
            response = connection.getresponse()
            fields = {field.lower(): value for field, value in response.getheaders()}
            return Answer(response.status, fields, response.read())
        finally:
            connection.close()

    def who(self, target: str, headers: dict[str, str] | None = None) -> str:
        """Which service answered."""
        answer = self.ask(target, headers)
        assert answer.status == 200, answer
        return str(answer.json["service"])

    def end_service(self, name: str) -> None:
        """Kill a service."""
        os.kill(self.pids[name], signal.SIGKILL)


def served(name: str, folder: Path, processes: Processes) -> Served:
    """Serve config/NAME.yaml, copied to a folder and on free ports."""
    text, ports = on_free_ports((EXAMPLES / f"{name}.yaml").read_text())
    file = folder / f"{name}.yaml"
    # Examples leave the two seconds in which a balancer may notice; here is none.
    file.write_text(text if "\ndrain:" in text else f"{text}\ndrain: {{notice: 10ms, timeout: 2s}}\n")
    configuration = absolute(load_file(file).configuration, folder)
    make_certificates(configuration)
    setting = setting_of(configuration)
    kills = {service: processes.service(service, address) for service, address in setting.services}
    processes.gateway(file, setting.addresses[0])
    return Served(folder, ports, {service: int(kill.split()[1]) for service, kill in kills.items()})
