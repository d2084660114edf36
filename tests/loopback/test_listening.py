"""Where a gateway listens."""

from __future__ import annotations

import socket
import stat

import pytest
from pytest_twisted import ensureDeferred
from toolkit.client import request
from toolkit.settings import api, route, simple, step, steps
from toolkit.stage import Stage
from twisted.internet.error import CannotListenError


@ensureDeferred
async def test_a_unix_socket(stage: Stage) -> None:
    origin = await stage.origin()
    flow = steps(step("ip-filter", allow=["127.0.0.0/8"]))
    filtered = api(route(), name="f", base_path="/filtered", pre_flow=flow)
    listener = {"name": "local", "address": "unix:gateway.sock"}
    await stage.serve(simple(origin, api(), filtered, listeners=[listener]))
    path = stage.folder / "gateway.sock"
    assert stat.S_ISSOCK(path.stat().st_mode)
    client = await stage.client(str(path))
    for _ in range(2):
        assert (await client.ask("GET", "/a")).status == 200
    # There is no address to tell, and none on any list.
    assert origin.last.get("via") == "1.1 apigateway"
    assert (await client.ask("GET", "/filtered")).status == 403
    line = await stage.gateway.line()
    assert (line["client"], line["listener"], line["status"]) == ("", "local", 200)
    await stage.gateway.stop()
    assert not path.exists()


@ensureDeferred
async def test_several_listeners_with_limits_of_their_own(stage: Stage) -> None:
    origin = await stage.origin()
    narrow = {
        "name": "narrow",
        "address": "127.0.0.1:0",
        "limits": {"max_body": "10B", "max_target": "20B", "max_fields": 3},
    }
    await stage.serve(simple(origin, listeners=[{"name": "wide", "address": "127.0.0.1:0"}, narrow]))
    first, second = (stage.gateway.address(number) for number in range(2))
    for octets, status in [
        (request("POST", "/", body=b"x" * 11), 413),
        (request("GET", "/" + "a" * 200), 414),
        (request("GET", "/", "A: 1", "B: 2", "C: 3"), 431),
        (request("POST", "/", body=b"x" * 10), 200),
    ]:
        wide, small = await stage.client(first), await stage.client(second)
        wide.send(octets)
        small.send(octets)
        assert ((await wide.answer()).status, (await small.answer()).status) == (200, status)
    chunked = await stage.client(second)
    chunked.send(
        b"POST / HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\n\r\n8\r\n12345678\r\n8\r\n12345678\r\n"
    )
    assert (await chunked.answer()).status == 413


@ensureDeferred
async def test_ipv6(stage: Stage) -> None:
    origin = await stage.origin()
    await stage.serve(simple(origin, listeners=[{"name": "six", "address": "[::1]:0"}]))
    assert (await stage.ask("GET", "/", host="[::1]:80")).status == 200
    assert origin.last.get("x-forwarded-for") == "::1"


@ensureDeferred
async def test_an_address_that_is_taken_is_an_error_at_the_start(stage: Stage) -> None:
    origin = await stage.origin()
    with socket.create_server(("127.0.0.1", 0)) as taken:
        address = f"127.0.0.1:{taken.getsockname()[1]}"
        stage.gateway.write(simple(origin, listeners=[{"name": "public", "address": address}]))
        with pytest.raises(CannotListenError):
            await stage.gateway.start()
    stage.gateway.service = None  # type: ignore[assignment]


@ensureDeferred
async def test_limits_change_with_a_reload_for_new_connections(stage: Stage) -> None:
    origin = await stage.origin()

    def limits(size: str) -> dict[str, object]:
        return {"listeners": [{"name": "public", "address": "127.0.0.1:0", "limits": {"max_body": size}}]}

    gateway = await stage.serve(simple(origin, **limits("10B")))
    old = await stage.client()
    assert (await old.ask("GET", "/")).status == 200
    gateway.write(simple(origin, **limits("1KiB")))
    assert (await gateway.reload())["taken"]
    assert (await stage.ask("POST", "/", body=b"x" * 100)).status == 200
    assert (await old.ask("POST", "/", body=b"x" * 100)).status == 413
