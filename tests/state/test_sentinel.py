"""Sentinels: the primary that they name is asked, and after a failover the new one."""

from __future__ import annotations

from typing import Any

from linking import Linked
from pytest_twisted import async_yield_fixture, ensureDeferred
from resp_server import RespServer, to
from sentinels import SERVICE, Service
from toolkit.waiting import reactor, turn, until

KEY = b"apigateway:test:{k}:n"
# Sentinels vote, and may have to try again; this is no promise of ours.
FAILOVER = 60.0


@async_yield_fixture
async def service() -> Any:
    with Service() as made:
        yield made


async def counts(one: Linked) -> int:
    result, _ = await one.decide()
    assert isinstance(result, int), result
    return result


@ensureDeferred
async def test_the_primary_is_asked(linked: Any, service: Service) -> None:
    one = await linked(service.url)
    assert await counts(one) == 1
    assert service.primary.command("GET", KEY) == b"1"


@ensureDeferred
async def test_after_a_failover_the_new_primary_is_asked(linked: Any, service: Service) -> None:
    one = await linked(service.url)
    assert await counts(one) == 1
    await until(lambda: service.replica.command("GET", KEY) == b"1")
    service.primary.kill()
    await one.without()
    await until(lambda: one.link.connected, lambda: one.link.why, within=FAILOVER)
    assert await counts(one) == 2
    assert service.replica.command("GET", KEY) == b"2"


@ensureDeferred
async def test_a_failover_that_operators_ask_for_ends_the_old_connection(linked: Any, service: Service) -> None:
    one = await linked(service.url)
    assert await counts(one) == 1
    await until(lambda: service.replica.command("GET", KEY) == b"1")
    service.sentinels[0].command("SENTINEL", "FAILOVER", SERVICE)
    end = reactor.seconds() + FAILOVER
    counted: object = None
    while not isinstance(counted, int) or service.role(service.replica) != "master":
        assert reactor.seconds() < end, one.link.why
        await turn(0.05)
        counted, _ = await one.decide()
    # The old one still runs, and was asked until it gave up its role: then it ends the connection.
    await until(lambda: service.role(service.primary) == "slave", within=FAILOVER)
    counted = None
    while not isinstance(counted, int) or service.replica.command("GET", KEY) != b"%d" % counted:
        assert reactor.seconds() < end, one.link.why
        await turn(0.05)
        counted, _ = await one.decide()


@ensureDeferred
async def test_sentinels_that_are_gone_are_passed_over(linked: Any, service: Service) -> None:
    service.sentinels[0].kill()
    service.sentinels[1].freeze()
    one = await linked(service.url)
    await one.connected()
    assert await counts(one) == 1


@ensureDeferred
async def test_a_service_that_nobody_knows(linked: Any, service: Service) -> None:
    one = await linked(service.url.replace(SERVICE, "other"))
    assert not one.link.connected
    assert 'does not know the service "other"' in one.link.why


@ensureDeferred
async def test_a_sentinel_that_is_behind_is_doubted(linked: Any, service: Service, fake: RespServer) -> None:
    """It names the replica, or a server that is gone; the next attempt asks another Sentinel."""
    host, port = service.replica.address
    place = [b"$%d\r\n%b\r\n" % (len(part), part) for part in (host.encode(), str(port).encode())]
    fake.answer = to({b"SENTINEL": b"*2\r\n" + b"".join(place)})
    one = await linked(service.url.replace("sentinel://", f"sentinel://127.0.0.1:{fake.port},"))
    assert "is no primary, but a slave" in one.link.why
    await one.connected()
    assert await counts(one) == 1


@ensureDeferred
async def test_passwords_of_both(linked: Any, service: Service) -> None:
    for server in (service.primary, service.replica):
        server.commands([("CONFIG", "SET", "masterauth", "inner"), ("CONFIG", "SET", "requirepass", "inner")])
    for sentinel in service.sentinels:
        sentinel.command("SENTINEL", "SET", SERVICE, "auth-pass", "inner")
        sentinel.command("ACL", "SETUSER", "default", ">outer")
    one = await linked({"url": service.url, "password": "inner", "sentinel_password": "outer"})
    assert one.link.connected, one.link.why
    assert await counts(one) == 1
    wrong = await linked({"url": service.url, "password": "inner", "sentinel_password": "wrong"})
    assert "WRONGPASS" in wrong.link.why


@ensureDeferred
async def test_what_ends_while_it_dials_leaves_nothing_behind(linked: Any, service: Service) -> None:
    for number in range(40):
        one = Linked({"url": service.url, "timeout": "1s"})
        started = one.link.start()
        await turn(number * 0.0005)
        one.remote.close()
        await started
        assert not one.link.connected
