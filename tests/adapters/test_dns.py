"""Name resolution against a real server on the loopback: answers, aliases, failures, silence."""

from __future__ import annotations

from collections import Counter
from pathlib import Path
from typing import Any

import pytest
import pytest_twisted
from name_server import Mute, NameServer
from pytest_twisted import ensureDeferred
from toolkit.garbage import garbage, no_collector
from toolkit.waiting import until
from twisted.internet import reactor
from twisted.internet.asyncioreactor import AsyncioSelectorReactor
from twisted.internet.defer import CancelledError
from twisted.names import dns
from zope.interface.verify import verifyObject

from apigateway.adapters.dns import DnsResolver
from apigateway.adapters.dns_query import OneServer
from apigateway.ports.interfaces import (
    IResolver,
    NameNotFound,
    Resolution,
    ResolutionFailed,
    ServiceRecord,
    ServiceResolution,
)

__all__ = ["no_collector"]


@pytest_twisted.async_yield_fixture
async def served() -> Any:
    server = NameServer()
    zone = server.zone
    zone.add(b"a.test", dns.Record_A("192.0.2.1"), 30)
    zone.add(b"a.test", dns.Record_A("192.0.2.2"), 20)
    zone.add(b"both.test", dns.Record_A("192.0.2.3"), 60)
    zone.add(b"both.test", dns.Record_AAAA("2001:db8::3"), 15)
    zone.add(b"six.test", dns.Record_AAAA("2001:db8::6"), 40)
    zone.add(b"text.test", dns.Record_TXT(b"no address"), 40)
    yield server
    await server.close()


@pytest_twisted.async_yield_fixture
async def mute() -> Any:
    protocol = Mute()
    ports: Any = reactor
    port = ports.listenUDP(0, protocol, interface="127.0.0.1")
    yield protocol, f"127.0.0.1:{port.getHost().port}"
    await port.stopListening()


@pytest.fixture
def hosts(tmp_path: Path) -> Path:
    path = tmp_path / "hosts"
    path.write_text("127.0.0.1 localhost\n192.0.2.50\tdb.internal DB # comment\n::50 db.internal\nnonsense x\n")
    return path


def resolver(*servers: str, hosts: object = "/nonexistent", **settings: Any) -> DnsResolver:
    return DnsResolver(reactor, servers, hosts=str(hosts), resolv_conf="/nonexistent", **settings)


def test_the_reactor_is_the_products() -> None:
    assert isinstance(reactor, AsyncioSelectorReactor)
    assert verifyObject(IResolver, resolver("127.0.0.1"))


@pytest.mark.parametrize(
    ("name", "address"),
    [("192.0.2.9", "192.0.2.9"), ("2001:db8::9", "2001:db8::9"), ("[2001:db8::9]", "2001:db8::9")],
)
@ensureDeferred
async def test_an_address_is_itself(name: str, address: str) -> None:
    assert (await resolver("127.0.0.1").resolve(name)).addresses == (address,)


@ensureDeferred
async def test_the_hosts_file_comes_first_and_is_read_again(hosts: Path) -> None:
    names = resolver("127.0.0.1", hosts=hosts)
    assert await names.resolve("DB.internal.") == Resolution(("192.0.2.50", "::50"), 60.0)
    assert (await names.resolve("db")).addresses == ("192.0.2.50",)
    hosts.write_text("192.0.2.51 db.internal and something more\n")
    assert (await names.resolve("db.internal")).addresses == ("192.0.2.51",)


@pytest.mark.parametrize("name", ["localhost", "LOCALHOST.", "app.localhost"])
@ensureDeferred
async def test_localhost_needs_no_file(name: str) -> None:
    assert (await resolver("127.0.0.1").resolve(name)).addresses == ("127.0.0.1", "::1")


@pytest.mark.parametrize(
    ("name", "addresses", "ttl"),
    [("a.test", {"192.0.2.1", "192.0.2.2"}, 20), ("A.Test.", {"192.0.2.1", "192.0.2.2"}, 20),
     ("both.test", {"192.0.2.3", "2001:db8::3"}, 15), ("six.test", {"2001:db8::6"}, 40)],
)  # fmt: skip
@ensureDeferred
async def test_a_and_aaaa_with_the_shortest_ttl(
    served: NameServer, name: str, addresses: set[str], ttl: float
) -> None:
    found = await resolver(served.address).resolve(name)
    assert (set(found.addresses), found.ttl) == (addresses, ttl)


@ensureDeferred
async def test_aliases_are_followed_over_several_answers(served: NameServer) -> None:
    served.zone.add(b"one.test", dns.Record_CNAME(b"two.test"), 300)
    served.zone.add(b"two.test", dns.Record_CNAME(b"A.test"), 10)
    found = await resolver(served.address).resolve("one.test")
    assert (set(found.addresses), found.ttl) == ({"192.0.2.1", "192.0.2.2"}, 10)


@ensureDeferred
async def test_an_alias_to_nowhere_is_not_found(served: NameServer) -> None:
    served.zone.add(b"one.test", dns.Record_CNAME(b"nowhere.test"), 300)
    with pytest.raises(NameNotFound):
        await resolver(served.address).resolve("one.test")


@ensureDeferred
async def test_aliases_in_a_ring_fail(served: NameServer) -> None:
    served.zone.add(b"one.test", dns.Record_CNAME(b"two.test"), 300)
    served.zone.add(b"two.test", dns.Record_CNAME(b"one.test"), 300)
    with pytest.raises(ResolutionFailed, match="aliases"):
        await resolver(served.address).resolve("one.test")
    assert len(served.zone.asked) <= 16


@pytest.mark.parametrize("name", ["nowhere.test", "text.test", "x" * 64 + ".test", "a..test", ""])
@ensureDeferred
async def test_a_name_without_address_is_not_found(served: NameServer, name: str) -> None:
    with pytest.raises(NameNotFound):
        await resolver(served.address).resolve(name)


@ensureDeferred
async def test_a_name_of_another_script_is_asked_for_in_ascii(served: NameServer) -> None:
    served.zone.add(b"xn--bcher-kva.test", dns.Record_A("192.0.2.7"), 5)
    assert (await resolver(served.address).resolve("bücher.test")).addresses == ("192.0.2.7",)


@ensureDeferred
async def test_servfail_is_a_failure_and_not_asked_for_ever(served: NameServer) -> None:
    served.zone.failing.add(b"a.test")
    with pytest.raises(ResolutionFailed, match=r"a\.test.*code 2"):
        await resolver(served.address).resolve("a.test")
    assert len(served.zone.asked) == 6


@ensureDeferred
async def test_servfail_for_one_type_leaves_the_other(served: NameServer) -> None:
    served.zone.failing.add((b"both.test", dns.AAAA))
    assert await resolver(served.address).resolve("both.test") == Resolution(("192.0.2.3",), 60)


@ensureDeferred
async def test_servfail_and_nothing_is_a_failure_still(served: NameServer) -> None:
    served.zone.failing.add((b"six.test", dns.AAAA))
    with pytest.raises(ResolutionFailed):
        await resolver(served.address).resolve("six.test")


@ensureDeferred
async def test_silence_ends_in_bounded_time(mute: tuple[Mute, str]) -> None:
    began = reactor.seconds()  # type: ignore[attr-defined]
    with pytest.raises(ResolutionFailed, match="Timeout"):
        await resolver(mute[1], timeout=0.5).resolve("a.test")
    assert 0.4 < reactor.seconds() - began < 4.0  # type: ignore[attr-defined]
    assert mute[0].heard >= 6


@ensureDeferred
async def test_a_name_asked_for_in_vain_leaves_nothing_behind(mute: Any, no_collector: None) -> None:
    """A reload freezes what only the collector would find, and names are asked for again and again."""
    one = resolver(mute[1], timeout=0.1)

    async def asked() -> None:
        for _ in range(3):
            with pytest.raises(ResolutionFailed, match="Timeout") as raised:
                await one.resolve("a.test")
            raised.value.with_traceback(None)  # it holds this test's frames
            del raised

    await asked()
    garbage()
    await asked()
    assert garbage() == Counter()
    assert mute[0].heard >= 6


@ensureDeferred
async def test_a_second_server_is_asked_where_the_first_is_silent(
    mute: tuple[Mute, str], served: NameServer, monkeypatch: pytest.MonkeyPatch
) -> None:
    names = resolver(mute[1], served.address, timeout=1.0)
    found = await names.resolve("six.test")
    assert found.addresses == ("2001:db8::6",)
    assert mute[0].heard == 2
    # Who did not answer is not waited for by the next question, too.
    assert (await names.resolve("both.test")).ttl == 15
    assert mute[0].heard == 2
    # For a while.
    monkeypatch.setattr(names, "_begin_until", 0.0)
    assert (await names.resolve("both.test")).ttl == 15
    assert mute[0].heard == 4


@ensureDeferred
async def test_who_gives_a_question_up_begins_behind_that_server(mute: tuple[Mute, str], served: NameServer) -> None:
    names = resolver(mute[1], served.address)
    given_up = names.resolve("six.test")
    await until(lambda: mute[0].heard)
    given_up.cancel()
    with pytest.raises(CancelledError):
        await given_up
    assert (await names.resolve("six.test").addTimeout(1.0, reactor)).addresses == ("2001:db8::6",)


@pytest.mark.parametrize(
    ("source", "taken_for"),
    [(("fe80::1", 53), ("fe80::1%eth0", 53)), (("fe80::2", 53), ("fe80::2", 53)), (("fe80::1", 54), ("fe80::1", 54))],
)
def test_an_answer_of_a_link_local_server_tells_no_zone(
    monkeypatch: pytest.MonkeyPatch, source: tuple[str, int], taken_for: tuple[str, int]
) -> None:
    told: list[Any] = []
    monkeypatch.setattr(dns.DNSDatagramProtocol, "datagramReceived", lambda _, data, address: told.append(address))
    OneServer(None, reactor, ("fe80::1%eth0", 53)).datagramReceived(b"an answer", source)
    assert told == [taken_for]


@pytest.mark.parametrize("written", ["::1", "0:0:0:0:0:0:0:1"])
@ensureDeferred
async def test_a_server_answers_however_its_address_is_written(written: str) -> None:
    server = NameServer("::1")
    server.zone.add(b"a.test", dns.Record_A("192.0.2.1"), 30)
    try:
        found = await resolver(f"[{written}]:{server.port}").resolve("a.test")
    finally:
        await server.close()
    assert found.addresses == ("192.0.2.1",)


@ensureDeferred
async def test_a_second_server_is_asked_where_the_first_fails(served: NameServer) -> None:
    other = NameServer()
    other.zone.failing.add(b"a.test")
    found = await resolver(other.address, served.address).resolve("a.test")
    await other.close()
    assert set(found.addresses) == {"192.0.2.1", "192.0.2.2"}


@ensureDeferred
async def test_an_answer_that_was_cut_is_fetched_over_tcp(served: NameServer) -> None:
    for number in range(60):
        served.zone.add(b"many.test", dns.Record_A(f"198.51.100.{number}"), 9)
    served.factory.truncated.add(b"many.test")
    found = await resolver(served.address).resolve("many.test")
    assert (len(found.addresses), found.ttl) == (60, 9)


@ensureDeferred
async def test_a_resolution_can_be_called_off(mute: tuple[Mute, str]) -> None:
    asked = resolver(mute[1]).resolve("a.test")
    asked.cancel()
    with pytest.raises(CancelledError):
        await asked


@ensureDeferred
async def test_many_at_once_do_not_mix(served: NameServer) -> None:
    for number in range(50):
        served.zone.add(b"n%d.test" % number, dns.Record_A(f"198.51.100.{number}"), number)
    names = resolver(served.address)
    asked = [names.resolve(f"n{number}.test") for number in range(50)]
    for number, answer in enumerate(asked):
        assert await answer == Resolution((f"198.51.100.{number}",), number)


# ---- services


SERVICE = b"_http._tcp.users.test"


@ensureDeferred
async def test_the_places_of_a_service_with_the_shortest_ttl(served: NameServer) -> None:
    served.zone.add(SERVICE, dns.Record_SRV(10, 60, 8080, b"One.test"), 30)
    served.zone.add(SERVICE, dns.Record_SRV(20, 0, 8081, b"two.test"), 12)
    found = await resolver(served.address).services("_http._tcp.Users.test.")
    assert found.ttl == 12
    assert {(one.priority, one.weight, one.host.lower(), one.port) for one in found.records} == {
        (10, 60, "one.test", 8080), (20, 0, "two.test", 8081),
    }


@ensureDeferred
async def test_a_service_by_an_alias(served: NameServer) -> None:
    served.zone.add(b"users.test", dns.Record_CNAME(SERVICE), 7)
    served.zone.add(SERVICE, dns.Record_SRV(1, 1, 80, b"one.test"), 30)
    found = await resolver(served.address).services("users.test")
    assert found == ServiceResolution((ServiceRecord(1, 1, "one.test", 80),), 7)


@ensureDeferred
async def test_a_long_answer_comes_over_tcp(served: NameServer) -> None:
    served.factory.truncated.add(SERVICE)
    for number in range(60):
        served.zone.add(SERVICE, dns.Record_SRV(1, 1, 80, b"one%d.test" % number), 30)
    assert len((await resolver(served.address).services(SERVICE.decode())).records) == 60


@pytest.mark.parametrize("name", ["nowhere.test", "a.test", "none.test", "x" * 64 + ".test", ""])
@ensureDeferred
async def test_a_service_that_is_not_offered_is_not_found(served: NameServer, name: str) -> None:
    served.zone.add(b"none.test", dns.Record_SRV(0, 0, 0, b"."), 30)  # RFC 2782: decidedly not available
    with pytest.raises(NameNotFound):
        await resolver(served.address).services(name)


@ensureDeferred
async def test_servfail_for_a_service_is_a_failure(served: NameServer) -> None:
    served.zone.failing.add(SERVICE)
    with pytest.raises(ResolutionFailed, match=r"users\.test.*code 2"):
        await resolver(served.address).services(SERVICE.decode())
