"""What is the same of every request that may not get through."""

from __future__ import annotations

from toolkit.client import request
from toolkit.gateway import Gateway
from toolkit.message import Answer
from toolkit.origin import Origin
from toolkit.stage import Stage
from toolkit.waiting import turn

SMUGGLED = request("GET", "/smuggled")
"""What an attacker hides behind a request: nobody may ever read it as one."""


async def answered_once(stage: Stage, *octets: bytes, method: str = "GET") -> Answer:
    """Send octets, and a request behind them: there is one answer, then the end, and nothing more is read.

    octets: pieces, each in a turn of its own. The request behind them comes twice: in the last write, and when the
    gateway has ended its side. Whether it was taken for one, `nothing_came` of the origin tells.
    """
    client = await stage.client()
    *first, last = octets
    for piece in first:
        client.send(piece)
        await turn()
    client.send(last + SMUGGLED)
    answer = await client.answer(method)
    assert answer.get("connection") == "close", (octets, answer)
    assert await client.rest() == b"", octets
    client.send(SMUGGLED)
    client.close()
    return answer


async def nothing_came(stage: Stage, origin: Origin, statuses: list[int]) -> None:
    """The origin was not even connected to, and each request has one line in the access log; statuses: theirs.

    A good request comes after them, so that what was to come late has come by then.
    """
    assert (await stage.ask("GET", "/good")).status == 200
    assert [asked.target for asked in origin.asked] == ["/good"]
    assert len(origin.connections) == 1
    await logged(stage.gateway, [*statuses, 200])


async def logged(gateway: Gateway, statuses: list[int]) -> None:
    """The access log holds these, in this order, once the one of /good is written."""
    await gateway.line(lambda line: line["target"] == "/good")
    assert [line["status"] for line in gateway.access()] == statuses
