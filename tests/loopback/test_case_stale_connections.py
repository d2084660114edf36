"""RC-O11: a kept connection that the origin closes just as a request is sent."""

from __future__ import annotations

import pytest
from pytest_twisted import ensureDeferred
from toolkit.origin import Asked, Origin, answering
from toolkit.settings import simple, upstream
from toolkit.stage import Stage
from toolkit.waiting import turn, until

# The origin closes idle connections after this; the case has a second.
IDLE = 0.1


class Payments:
    """An origin that closes idle connections after IDLE, and counts what it carried out."""

    def __init__(self) -> None:
        self.paid: list[str] = []

    async def serve(self, asked: Asked) -> None:
        await asked.read()
        if asked.method == "POST":
            self.paid.append(asked.target)
        asked.answer(200, b"done")
        try:
            await asked.connection.news(within=IDLE)
        except TimeoutError:
            asked.connection.close()


@ensureDeferred
async def test_rc_o11_requests_at_the_very_interval_of_the_origins_limit_all_succeed(stage: Stage) -> None:
    payments = Payments()
    origin = await stage.origin(payments.serve)
    await stage.serve(simple(origin))
    client = await stage.client()
    for number in range(8):
        assert (await client.ask("GET", f"/n{number}")).status == 200
        await turn(IDLE)
    for number in range(8):
        # What may have been taken is not sent twice: a 502 is the right answer where the race was lost.
        answer = await client.ask("POST", f"/pay{number}", body=b'{"amount":5}')
        assert answer.status in (200, 502)
        await turn(IDLE)
    assert len(payments.paid) == len(set(payments.paid))


@ensureDeferred
async def test_rc_o11_a_connection_is_retired_before_the_limit_that_the_origin_names(stage: Stage) -> None:
    origin = await stage.origin(answering(200, b"done", "Keep-Alive: timeout=2"))
    await stage.serve(simple(origin))
    assert (await stage.ask("POST", "/pay1", body=b"5")).status == 200
    kept = origin.connections[0]
    # Half of what it said, since a second less would be nothing: we close first.
    await until(lambda: kept.ended, within=1.8)
    assert (await stage.ask("POST", "/pay2", body=b"5")).status == 200
    assert [asked.target for asked in origin.asked] == ["/pay1", "/pay2"]


@ensureDeferred
async def test_rc_o11_a_connection_is_kept_no_longer_than_the_pool_says(stage: Stage) -> None:
    origin = await stage.origin()
    await stage.serve(simple(origin, up={"pool": {"idle_timeout": "100ms"}}))
    assert (await stage.ask("GET", "/")).status == 200
    await until(lambda: origin.connections[0].ended)


class Stale:
    """Answers the first request of a connection; ends without an answer on the second."""

    def __init__(self, how: str) -> None:
        self.how = how
        self.on: dict[int, int] = {}
        self.got: list[str] = []

    async def serve(self, asked: Asked) -> None:
        await asked.read()
        self.got.append(f"{asked.method} {asked.target}")
        key = id(asked.connection)
        self.on[key] = self.on.get(key, 0) + 1
        if self.on[key] == 1:
            asked.answer(200, b"fresh")
        elif self.how == "reset":
            asked.connection.reset()
        else:
            asked.connection.close()


@pytest.mark.parametrize("how", ["close", "reset"])
@ensureDeferred
async def test_rc_o11_a_get_on_a_stale_connection_goes_out_again_on_a_fresh_one(
    stage: Stage, how: str
) -> None:
    stale = Stale(how)
    origin = await stage.origin(stale.serve)
    # Not even with retries off may the client see it: nobody refused the request.
    await stage.serve(simple(origin, up={"retry": {"attempts": 1}}))
    client = await stage.client()
    for number in range(6):
        answer = await client.ask("GET", f"/{number}")
        assert (answer.status, answer.body) == (200, b"fresh")
    line = await stage.gateway.line(lambda line: line["target"] == "/5")
    assert line["attempts"] == 1


@pytest.mark.parametrize("how", ["close", "reset"])
@ensureDeferred
async def test_rc_o11_a_post_that_may_have_been_taken_is_never_sent_again(stage: Stage, how: str) -> None:
    stale = Stale(how)
    origin = await stage.origin(stale.serve)
    await stage.serve(simple(origin))
    client = await stage.client()
    assert (await client.ask("POST", "/1", body=b"5")).status == 200
    answer = await client.ask("POST", "/2", body=b"5")
    assert (answer.status, answer.kind) == (502, "upstream-reset")
    assert stale.got.count("POST /2") == 1
    # With a key by which the origin knows it again, it may be.
    assert (await client.ask("POST", "/3", body=b"5")).status == 200
    again = await client.ask("POST", "/4", "Idempotency-Key: k", body=b"5")
    assert (again.status, stale.got.count("POST /4")) == (200, 2)


@pytest.mark.parametrize(("how", "targets"), [("close", 1), ("reset", 1), ("close", 2)])
@ensureDeferred
async def test_rc_o11_variation_the_origin_reads_the_whole_post_and_closes(
    stage: Stage, how: str, targets: int
) -> None:
    async def take_and_leave(asked: Asked) -> None:
        await asked.read()
        asked.connection.reset() if how == "reset" else asked.connection.close()

    origins = [await stage.origin(take_and_leave) for _ in range(targets)]
    await stage.serve({**simple(origins[0]), "upstreams": [upstream(*origins)]})
    answer = await stage.ask("POST", "/pay", body=b'{"amount":5}')
    assert (answer.status, answer.kind) == (502, "upstream-reset")
    assert _count(origins) == 1
    # A GET is another matter: it is tried again, as often as the settings say.
    assert (await stage.ask("GET", "/pay")).status == 502
    assert _count(origins) == 3


def _count(origins: list[Origin]) -> int:
    return sum(len(origin.asked) for origin in origins)


@ensureDeferred
async def test_rc_o11_a_post_that_was_never_sent_may_go_elsewhere(stage: Stage) -> None:
    gone, origin = await stage.origin(), await stage.origin()
    gone.stop()
    await stage.serve({**simple(origin), "upstreams": [upstream(gone, origin)]})
    client = await stage.client()
    for _ in range(4):
        assert (await client.ask("POST", "/pay", body=b"5")).status == 200
    assert (len(gone.asked), len(origin.asked)) == (0, 4)
