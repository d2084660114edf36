"""The gateway itself was held up, by a policy or by the machine: what came meanwhile counts as come in time."""

from __future__ import annotations

import os
import time

import pytest
from pytest_twisted import ensureDeferred
from toolkit.origin import Asked
from toolkit.settings import simple
from toolkit.stage import Stage

HEAD = b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\n"


@pytest.mark.parametrize(("first", "last"), [(b"", HEAD + b"ok"), (HEAD, b"ok")], ids=["head", "body"])
@ensureDeferred
async def test_an_upstream_is_not_silent_whose_answer_waits_to_be_read(stage: Stage, first: bytes, last: bytes) -> None:
    async def script(asked: Asked) -> None:
        fileno = asked.connection.transport.get_extra_info("socket").fileno()
        if first:
            os.write(fileno, first)
        await asked.read()
        os.write(fileno, last)
        time.sleep(1.2)  # it holds the loop of this process, which is the gateway's, too

    origin = await stage.origin(script)
    await stage.serve(simple(origin, up={"timeouts": {"response": "1s", "idle": "1s"}}))
    client = await stage.client()
    client.send(b"POST / HTTP/1.1\r\nHost: gw.test\r\nContent-Length: 1\r\n\r\n")
    if first:
        await client.head()
    client.send(b"x")
    await client.past(b"ok")
    assert "fault" not in await stage.gateway.line()
