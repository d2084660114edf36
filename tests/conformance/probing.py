"""Sending the cases of http11probe to the gateway, and what came of each."""

from __future__ import annotations

from dataclasses import dataclass, field

from probe_cases import ProbeCase
from probe_origin import ProbedOrigin
from toolkit.client import HOST, Client
from toolkit.message import Answer
from toolkit.origin import Asked, Origin
from toolkit.settings import api, route, simple
from toolkit.stage import Stage
from toolkit.stream import Closed
from toolkit.waiting import PATIENCE

METHODS = ["GET", "HEAD", "POST", "OPTIONS"]
# For requests that are never complete: nobody answers them before the time for heads and bodies is over.
_QUIET = 0.3
_LAST = f"GET /last HTTP/1.1\r\nHost: {HOST}\r\nConnection: close\r\n\r\n".encode()


@dataclass
class Probed:
    """answers: final responses, in order, without that to the request we put behind all. closed: by the gateway.

    heads: what reached the origin at all; complete: what reached it whole. poisoned: the request behind all was not
    answered as itself, or not alone.
    """

    case: ProbeCase
    answers: list[Answer] = field(default_factory=list)
    closed: bool = False
    heads: list[Asked] = field(default_factory=list)
    complete: list[Asked] = field(default_factory=list)
    poisoned: bool = False

    @property
    def status(self) -> int | None:
        return self.answers[0].status if self.answers else None

    @property
    def refused(self) -> bool:
        """The gateway itself said no to the octets."""
        types = [one.get("content-type") for one in self.answers[:1]]
        return types == ["application/problem+json"] and self.status in (400, 413, 414, 417, 431, 501, 505)


async def probe_all(stage: Stage, cases: list[ProbeCase]) -> list[Probed]:
    """One gateway in front of one origin, case after case."""
    probed = ProbedOrigin()
    origin = await stage.origin(probed.script)
    await stage.serve(simple(origin, api(route(match={"path_prefix": "/", "methods": METHODS}))))
    return [await _probe(stage, origin, probed, case) for case in cases]


async def _probe(stage: Stage, origin: Origin, probed: ProbedOrigin, case: ProbeCase) -> Probed:
    origin.asked.clear()
    probed.complete.clear()
    client = await stage.client()
    outcome = Probed(case)
    try:
        for octets in case.requests:
            client.send(octets.replace(b"{HOST}", HOST.encode()))
            method = octets.lstrip(b"\r\n").partition(b" ")[0].decode("latin-1")
            outcome.answers.append(await client.answer(method, _QUIET if case.waits else PATIENCE))
            if outcome.refused or "close" in outcome.answers[-1].all("connection"):
                await client.gone()
                break
    except TimeoutError:
        pass
    except Closed:
        outcome.closed = True
    outcome.closed = outcome.closed or client.ended
    if outcome.answers and not client.ended:
        outcome.poisoned = await _poisoned(client)
    outcome.heads = [one for one in origin.asked if one.target != "/last"]
    outcome.complete = [one for one in probed.complete if one.target != "/last"]
    client.close()
    return outcome


async def _poisoned(client: Client) -> bool:
    """Whether a request behind it all gets another answer than its own, or one more."""
    client.send(_LAST)
    try:
        last = await client.answer()
    except Closed:
        return False  # nothing is read behind what was not understood
    return (last.status, last.body) != (200, b"/last") or await client.rest() != b""
