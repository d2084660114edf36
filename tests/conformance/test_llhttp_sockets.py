"""llhttp's own cases over sockets: requests to the gateway, and responses to it from behind."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest
from llhttp_cases import Case
from llhttp_judging import events_of
from pytest_twisted import ensureDeferred
from results import Results
from toolkit.client import Client, request
from toolkit.message import Answer
from toolkit.origin import Asked
from toolkit.settings import simple
from toolkit.stage import Stage
from toolkit.stream import Closed
from toolkit.waiting import turn

from apigateway.wire.message import MessageEnd, Refusal, Request, Response

Says = Callable[[str, object], None]
ONCE: dict[str, Any] = {"retry": {"attempts": 1}, "health": {"passive": None}}


@pytest.mark.parametrize("by_octet", [False, True], ids=["whole", "octet by octet"])
@ensureDeferred
async def test_requests(stage: Stage, results: Results, by_octet: bool, record_property: Says) -> None:
    cases = [one.case for one in results.judged() if one.case.of_request]
    how = "octet by octet" if by_octet else "whole"
    record_property("says", f"llhttp-md: {len(cases)} requests sent over sockets, {how}")
    whole: list[str] = []

    async def script(asked: Asked) -> None:
        await asked.read()
        whole.append(asked.method)
        asked.send(b"HTTP/1.1 204 No Content\r\n\r\n")

    await stage.serve(simple(await stage.origin(script)))
    for case in cases:
        whole.clear()
        client = await stage.client()
        octets = case.with_hosts
        for piece in [octets[at : at + 1] for at in range(len(octets))] if by_octet else [octets]:
            client.send(piece)
            await turn()
        methods, refusal = expected(case)
        assert [(await client.answer()).status for _ in methods] == [204] * len(methods), case.name
        assert whole == methods, case.name
        if refusal is not None:
            answer = await client.answer()
            assert (answer.status, answer.get("connection")) == (refusal.status, "close"), case.name
            await client.gone()
            assert whole == methods, case.name
        client.close()


def expected(case: Case) -> tuple[list[str], Refusal | None]:
    """(methods of the requests that are whole, the refusal behind them). The end of the octets is not the client's."""
    methods: list[str] = []
    last = ""
    for event in events_of(case, [case.with_hosts]):
        if isinstance(event, Request):
            last = event.method.decode()
        elif isinstance(event, MessageEnd):
            methods.append(last)
        elif isinstance(event, Refusal) and event.section != "RFC 9112 8":
            return methods, event
    return methods, None


@ensureDeferred
async def test_responses(stage: Stage, results: Results, record_property: Says) -> None:
    cases = [one.case for one in results.judged() if not one.case.of_request]
    record_property("says", f"llhttp-md: {len(cases)} responses sent over sockets")
    octets = b""

    def script(asked: Asked) -> None:
        asked.send(octets)
        asked.connection.close()

    await stage.serve(simple(await stage.origin(script), up=ONCE))
    for case in cases:
        octets = case.octets
        method = "HEAD" if case.skips_body else "GET"
        client = await stage.client()
        client.send(request(method, "/", "Connection: close"))
        await is_passed_on(case, client, method)


async def is_passed_on(case: Case, client: Client, method: str) -> None:
    """What the client gets is the response as it was read, or 502, or is cut off."""
    events = events_of(case, [case.octets])
    heads = [one for one in events if isinstance(one, Response)]
    cut_off = isinstance(events[-1], Refusal)
    try:
        answer: Answer | None = await client.answer(method)
    except Closed:
        answer = None
    if not heads or (cut_off and answer is not None):
        assert answer is not None and (answer.status, answer.kind) == (502, "bad-response"), case.name
    elif cut_off:
        assert not client.record.endswith(b"\r\n0\r\n\r\n"), case.name
    else:
        body = b"".join(one for one in events if isinstance(one, bytes))
        assert answer is not None and (answer.status, answer.body) == (heads[0].status, body), case.name
    await client.gone()
    client.close()
