"""The fault proxy itself: without a fault it changes nothing, and each fault is the one that was asked for."""

from __future__ import annotations

import asyncio
from collections.abc import Callable

import pytest
from fault_proxy import Accepting, FaultProxy, Way
from pytest_twisted import ensureDeferred
from toolkit.client import Client
from toolkit.origin import Asked, Origin
from toolkit.stage import Stage
from toolkit.stream import Stream
from toolkit.waiting import event_loop, on_loop, reactor, steady, turn, until

Proxies = Callable[..., FaultProxy]
MUCH = bytes(range(256)) * 4096
SENT = b"0123456789abcdef"


class Ends:
    """The two ends of a connection through a proxy. way: the direction that `sender` writes to `receiver` in."""

    def __init__(self, proxy: FaultProxy, client: Client, server: Stream, direction: str) -> None:
        self.proxy = proxy
        self.client, self.server = client, server
        up = direction == "up"
        self.sender: Stream = client if up else server
        self.receiver: Stream = server if up else client
        self.way, self.back = (proxy.up, proxy.down) if up else (proxy.down, proxy.up)


async def ends(stage: Stage, proxies: Proxies, direction: str, **faults: object) -> Ends:
    """A connection through a proxy whose direction has these faults."""
    origin = await stage.origin()
    proxy = proxies((origin.address, origin.port))
    for name, value in faults.items():
        setattr(getattr(proxy, direction), name, value)
    client = await stage.client(proxy.address)
    await until(lambda: origin.connections)
    return Ends(proxy, client, origin.connections[0], direction)


both_ways = pytest.mark.parametrize("direction", ["up", "down"])


@both_ways
@ensureDeferred
async def test_without_a_fault_octets_pass_as_they_are(
    stage: Stage, proxies: Proxies, direction: str
) -> None:
    it = await ends(stage, proxies, direction)
    it.sender.send(MUCH + b"\r\n")
    assert await it.receiver.exactly(len(MUCH)) == MUCH
    pump = getattr(it.proxy.links[0], direction)
    await until(lambda: pump.passed == len(MUCH) + 2)


@ensureDeferred
async def test_the_end_passes_too_and_then_nothing_is_left(stage: Stage, proxies: Proxies) -> None:
    it = await ends(stage, proxies, "up")
    it.client.transport.write_eof()
    await it.server.gone()
    await it.client.gone()
    await until(lambda: not it.proxy.open)


@ensureDeferred
async def test_a_reset_passes_too(stage: Stage, proxies: Proxies) -> None:
    it = await ends(stage, proxies, "up")
    it.client.reset()
    await until(lambda: it.server.closed)
    assert isinstance(it.server.reason, ConnectionResetError)


@both_ways
@ensureDeferred
async def test_latency(stage: Stage, proxies: Proxies, direction: str) -> None:
    it = await ends(stage, proxies, direction, latency=0.1)
    began = reactor.seconds()
    it.sender.send(SENT)
    assert await it.receiver.exactly(len(SENT)) == SENT
    assert reactor.seconds() - began > 0.09
    # The other direction has none; and it may end while the connection runs.
    it.way.latency, it.back.latency = 0.0, 10.0
    it.sender.send(SENT)
    assert await it.receiver.exactly(len(SENT), within=5.0) == SENT


@both_ways
@ensureDeferred
async def test_a_rate(stage: Stage, proxies: Proxies, direction: str) -> None:
    it = await ends(stage, proxies, direction, rate=10_000)
    began = reactor.seconds()
    it.sender.send(b"x" * 2000)
    assert await it.receiver.exactly(2000) == b"x" * 2000
    assert reactor.seconds() - began > 0.15
    # Without it, a megabyte does not take a hundred seconds.
    it.way.rate = None
    it.sender.send(MUCH)
    await it.receiver.exactly(len(MUCH), within=10.0)


@both_ways
@ensureDeferred
async def test_slices(stage: Stage, proxies: Proxies, direction: str) -> None:
    it = await ends(stage, proxies, direction, slice=1, rate=200)
    it.sender.send(SENT)
    sizes = [len(await it.receiver.some()) for _ in range(3)]
    assert max(sizes) < 4
    it.way.rate = None
    await it.receiver.exactly(len(SENT) - sum(sizes))


@both_ways
@ensureDeferred
async def test_a_reset_after_so_many_octets(stage: Stage, proxies: Proxies, direction: str) -> None:
    it = await ends(stage, proxies, direction, reset_after=10)
    it.sender.send(SENT[:4])
    assert await it.receiver.exactly(4) == SENT[:4]
    it.sender.send(SENT[4:])
    await until(lambda: it.sender.closed and it.receiver.closed)
    assert isinstance(it.receiver.reason, ConnectionResetError)
    assert isinstance(it.sender.reason, ConnectionResetError)
    assert it.receiver.size == 10


@both_ways
@ensureDeferred
async def test_half_a_close_after_so_many_octets(stage: Stage, proxies: Proxies, direction: str) -> None:
    it = await ends(stage, proxies, direction, end_after=10)
    it.sender.send(SENT)
    assert await it.receiver.rest() == SENT[:10]
    assert not it.sender.ended
    if direction == "down":  # an Origin closes when it has read the end
        it.receiver.send(SENT)
        assert await it.sender.exactly(len(SENT)) == SENT


@both_ways
@ensureDeferred
async def test_a_black_hole(stage: Stage, proxies: Proxies, direction: str) -> None:
    it = await ends(stage, proxies, direction, hole=True)
    for _ in range(20):
        await it.sender.send_slowly(MUCH)  # it is taken, all of it
    it.sender.transport.write_eof()
    await steady(lambda: not it.receiver.size and not it.receiver.ended, 0.1)
    it.way.hole = False
    await it.receiver.gone()
    assert it.receiver.size == 0


@both_ways
@ensureDeferred
async def test_held_back(stage: Stage, proxies: Proxies, direction: str) -> None:
    it = await ends(stage, proxies, direction, held=True)
    for _ in range(8):
        it.sender.send(MUCH)
    await steady(lambda: it.sender.stuck and not it.receiver.size, 0.1)
    it.way.held = False
    for _ in range(8):
        assert await it.receiver.exactly(len(MUCH)) == MUCH


@both_ways
@ensureDeferred
async def test_a_corrupt_octet(stage: Stage, proxies: Proxies, direction: str) -> None:
    it = await ends(stage, proxies, direction, corrupt_at=5, flip=0x01, slice=3)
    it.sender.send(SENT)
    assert await it.receiver.exactly(len(SENT)) == b"012344" + SENT[6:]


@pytest.mark.parametrize("how", ["refuse", "close", "reset"])
@ensureDeferred
async def test_what_becomes_of_new_connections(stage: Stage, proxies: Proxies, how: Accepting) -> None:
    origin = await stage.origin()
    proxy = proxies((origin.address, origin.port))
    before = await stage.client(proxy.address)
    await until(lambda: origin.connections)
    proxy.accept(how)
    seen: type[Exception] | None = None
    try:
        client = await stage.client(proxy.address)
        await client.gone()
        seen = type(client.reason) if client.reason else None
    except OSError as error:  # a reset may come before the connection is told of
        seen = type(error)
    assert seen is {"refuse": ConnectionRefusedError, "close": None, "reset": ConnectionResetError}[how]
    assert (proxy.accepted, len(origin.connections)) == (1 if how == "refuse" else 2, 1)
    # Those that stand go on, and later ones pass again on the same port.
    proxy.accept("pass")
    assert (await before.ask("GET", "/")).status == 200
    assert (await (await stage.client(proxy.address)).ask("GET", "/")).status == 200


@ensureDeferred
async def test_connecting_gets_no_answer(stage: Stage, proxies: Proxies) -> None:
    origin = await stage.origin()
    proxy = proxies((origin.address, origin.port))
    proxy.accept("silence")
    waiting = on_loop(event_loop().create_connection(Client, *proxy.address))
    await turn(0.2)
    assert not waiting.called
    waiting.addErrback(lambda failure: None)
    waiting.cancel()
    await waiting
    proxy.accept("pass")
    assert (await (await stage.client(proxy.address)).ask("GET", "/")).status == 200


@ensureDeferred
async def test_every_connection_can_be_reset_at_once(stage: Stage, proxies: Proxies) -> None:
    origin = await stage.origin()
    proxy = proxies((origin.address, origin.port))
    clients = [await stage.client(proxy.address) for _ in range(5)]
    await until(lambda: len(origin.connections) == 5)
    proxy.reset()
    await until(lambda: all(one.closed for one in (*clients, *origin.connections)))
    assert {type(one.reason) for one in clients} == {ConnectionResetError}
    assert not proxy.open


@ensureDeferred
async def test_a_connection_can_be_reset_in_any_turn_of_the_loop(stage: Stage, proxies: Proxies) -> None:
    origin = await stage.origin()
    proxy = proxies((origin.address, origin.port))

    async def reset(turns: int) -> None:
        accepted = proxy.accepted
        while proxy.accepted == accepted:
            await asyncio.sleep(0)
        for _ in range(turns):
            await asyncio.sleep(0)
        proxy.reset()

    for turns in range(12):
        done = on_loop(reset(turns))
        client = await stage.client(proxy.address)
        await done
        await until(lambda client=client: client.closed)  # type: ignore[misc]
        assert isinstance(client.reason, ConnectionResetError), turns
    await until(lambda: all(one.closed for one in origin.connections))


@ensureDeferred
async def test_a_target_that_is_gone_resets(stage: Stage, proxies: Proxies) -> None:
    origin = await stage.origin()
    proxy = proxies((origin.address, origin.port))
    origin.stop()
    client = await stage.client(proxy.address)
    await until(lambda: client.closed)
    assert isinstance(client.reason, ConnectionResetError)


@ensureDeferred
async def test_it_stands_for_an_origin(stage: Stage, proxies: Proxies) -> None:
    def quote(asked: Asked) -> None:
        asked.answer(200, (asked.get("host") or "").encode())

    origin: Origin = await stage.origin(quote)
    proxy = proxies((origin.address, origin.port), "one")
    assert (proxy.name, proxy.url) == ("one", f"http://127.0.0.1:{proxy.port}")
    assert proxy.up == Way() == proxy.down
    assert (await (await stage.client(proxy.address)).ask("GET", "/")).body == b"gw.test"
