"""The example for Kubernetes and the container file, as far as they can be tried without a cluster."""

from __future__ import annotations

import http.client
import http.server
import signal
import socket
import subprocess
import sys
import tempfile
import threading
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import kubernetes_validate
import pytest
from manifests import DEPLOY, configuration, container_stages, object_of, objects
from supervised import PATIENCE, until

from apigateway.checking import check_file
from apigateway.cli.main import main
from apigateway.config.load import load_file
from apigateway.config.model import Configuration

KUBERNETES = "1.32"
SECRETS = "/run/secrets/apigateway"


def container() -> dict[str, Any]:
    [one] = object_of("Deployment")["spec"]["template"]["spec"]["containers"]
    return dict(one)


def written(folder: Path, **changes: str) -> Path:
    """The configuration as a file, with a secret beside it; changes: what to put for what."""
    (folder / "secrets").mkdir()
    (folder / "secrets/redis-password").write_text("secret")
    text = configuration().replace(SECRETS, str(folder / "secrets"))
    for old, new in changes.items():
        assert old in text
        text = text.replace(old, new)
    file = folder / "gateway.yaml"
    file.write_text(text)
    return file


def served_there() -> Configuration:
    """What the ConfigMap says."""
    with tempfile.TemporaryDirectory() as folder:
        return load_file(str(written(Path(folder)))).configuration


@pytest.mark.parametrize("one", objects(), ids=lambda one: f"{one['kind']}-{one['metadata']['name']}")
def test_each_object_is_as_its_schema_says(one: dict[str, Any]) -> None:
    assert kubernetes_validate.validate(one, KUBERNETES, strict=True) == KUBERNETES


def test_the_configuration_is_fine_and_warns_of_nothing(tmp_path: Path) -> None:
    assert check_file(str(written(tmp_path)), strict=True).problems == ()


def test_it_is_mounted_where_the_container_reads_it() -> None:
    [path, *_] = container_stages()[-1][-1].command
    mounts = {mount["name"]: mount["mountPath"] for mount in container()["volumeMounts"]}
    assert Path(path) == Path(mounts["configuration"]) / "gateway.yaml"
    assert mounts["secrets"] == SECRETS
    assert mounts["data"] == served_there().data_dir
    volumes = {volume["name"] for volume in object_of("Deployment")["spec"]["template"]["spec"]["volumes"]}
    assert volumes == set(mounts)


def test_ports_are_the_same_everywhere() -> None:
    settings = served_there()
    assert settings.management is not None
    ports = {port["name"]: port["containerPort"] for port in container()["ports"]}
    assert [settings.listeners[0].address, settings.management.address] == [
        f"0.0.0.0:{ports['http']}", f"0.0.0.0:{ports['management']}",
    ]
    exposed = next(one.rest for one in container_stages()[-1] if one.word == "EXPOSE")
    assert [int(port) for port in exposed.split()] == list(ports.values())
    [port] = object_of("Service")["spec"]["ports"]
    assert port["targetPort"] in ports
    annotations = object_of("Deployment")["spec"]["template"]["metadata"]["annotations"]
    assert annotations["prometheus.io/port"] == str(ports["management"])


def test_probes_ask_what_takes_no_token() -> None:
    probes = {name: container()[f"{name}Probe"]["httpGet"] for name in ("startup", "liveness", "readiness")}
    assert {name: probe["path"] for name, probe in probes.items()} == {
        "startup": "/livez", "liveness": "/livez", "readiness": "/readyz",
    }
    assert {probe["port"] for probe in probes.values()} == {"management"}


def test_nobody_is_killed_while_he_drains() -> None:
    drain = served_there().drain
    grace = object_of("Deployment")["spec"]["template"]["spec"]["terminationGracePeriodSeconds"]
    assert grace >= drain.notice + drain.timeout + 5
    assert drain.notice >= 2 * container()["readinessProbe"]["periodSeconds"]


def test_what_selects_pods_finds_them() -> None:
    labels = object_of("Deployment")["spec"]["template"]["metadata"]["labels"]
    selectors = [
        object_of("Deployment")["spec"]["selector"]["matchLabels"], object_of("Service")["spec"]["selector"],
        object_of("PodDisruptionBudget")["spec"]["selector"]["matchLabels"],
    ]
    assert all(selector.items() <= labels.items() for selector in selectors)
    assert object_of("HorizontalPodAutoscaler")["spec"]["scaleTargetRef"]["name"] == "apigateway"


def test_it_scales_on_metrics_that_its_rules_make() -> None:
    rules = object_of("ConfigMap", "prometheus-adapter-rules-apigateway")["data"]["config.yaml"]
    for metric in object_of("HorizontalPodAutoscaler")["spec"]["metrics"]:
        assert f"as: {metric['pods']['metric']['name']}}}" in rules


def test_the_container_runs_a_command_that_there_is_as_no_root() -> None:
    last = container_stages()[-1]
    entry, words = (next(one for one in last if one.word == word).command for word in ("ENTRYPOINT", "CMD"))
    assert entry[0] == "apigateway"
    command = main.get_command(None, entry[1])  # type: ignore[arg-type]
    assert command is not None
    assert command.make_context("run", [*words]).params["last_good"] is True
    user = next(one.rest for one in last if one.word == "USER")
    assert int(user) == object_of("Deployment")["spec"]["template"]["spec"]["securityContext"]["runAsUser"] != 0
    assert f"--uid {user} " in " ".join(one.rest for one in last if one.word == "RUN")


def test_the_container_copies_what_there_is() -> None:
    first, last = container_stages()
    assert first[0].rest.endswith(" AS build")
    sources = [source for one in first if one.word == "COPY" for source in one.rest.split()[:-1]]
    assert all(any(DEPLOY.parent.glob(source)) for source in sources)
    copies = [one.rest.split() for one in last if one.word == "COPY"]
    assert [copy[0] for copy in copies] == ["--from=build"]
    assert f"--wheel-dir {copies[0][1]} " in " ".join(one.rest for one in first if one.word == "RUN")


# ---- run


class Orders(http.server.BaseHTTPRequestHandler):
    def do_GET(self) -> None:
        self.send_response(200)
        self.send_header("Content-Length", "2")
        self.end_headers()
        self.wfile.write(b"ok")

    def log_message(self, *arguments: object) -> None:
        """Nothing."""


@pytest.fixture
def orders() -> Iterator[int]:
    """Port of what stands for the service."""
    server = http.server.ThreadingHTTPServer(("127.0.0.1", 0), Orders)
    threading.Thread(target=server.serve_forever, daemon=True).start()
    yield server.server_address[1]
    server.shutdown()
    server.server_close()


def status(folder: Path, name: str, path: str) -> int:
    """What a socket of the gateway answers; 0 where nobody listens."""
    connection = http.client.HTTPConnection("localhost", timeout=20)
    connection.sock = socket.socket(socket.AF_UNIX)
    try:
        connection.sock.connect(str(folder / name))
        connection.request("GET", path)
        return connection.getresponse().status
    except OSError:
        return 0
    finally:
        connection.close()


def test_it_serves_without_its_redis_and_drains_when_told(tmp_path: Path, orders: int) -> None:
    file = written(
        tmp_path,
        **{
            "0.0.0.0:8080": f"unix:{tmp_path}/http", "0.0.0.0:8001": f"unix:{tmp_path}/management",
            "/var/lib/apigateway": str(tmp_path / "data"), "http://orders:8080": f"http://127.0.0.1:{orders}",
            "redis-sentinel:26379": "127.0.0.1:1",
        },
    )
    process = subprocess.Popen(
        [sys.executable, "-m", "apigateway.cli", "run", str(file), "--last-good"],
        stdout=subprocess.DEVNULL, stderr=subprocess.STDOUT,
    )
    try:
        until(lambda: status(tmp_path, "management", "/readyz") == 200, "ready")
        # Nobody knows how often this address has asked: `rate-limit` counts in this worker then, and says so.
        assert status(tmp_path, "http", "/orders/1") == 200
        process.send_signal(signal.SIGTERM)
        until(lambda: status(tmp_path, "management", "/readyz") == 503, "not ready")
        assert status(tmp_path, "http", "/orders/1") == 200
        assert process.wait(PATIENCE) == 0
    finally:
        process.kill()
        process.wait()
