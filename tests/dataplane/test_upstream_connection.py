"""A connection to a target between exchanges: when it closes, and what becomes of one that does not."""

from __future__ import annotations

from apigateway.dataplane.upstream import FLUSH_SECONDS, UpstreamConnection
from apigateway.testing.live import Twins


class Keeper:
    """Wants nothing back."""

    def keep(self, connection: UpstreamConnection) -> bool:
        return False

    def lost(self, connection: UpstreamConnection) -> None:
        pass


class Transport:
    """Does not end by itself: the target reads nothing. did: what it was told."""

    def __init__(self) -> None:
        self.disconnecting = False
        self.did: list[str] = []

    def registerProducer(self, producer: object, streaming: bool) -> None:
        pass

    def unregisterProducer(self) -> None:
        pass

    def loseConnection(self) -> None:
        self.disconnecting = True
        self.did.append("close")

    def abortConnection(self) -> None:
        self.did.append("abort")


def connected() -> tuple[UpstreamConnection, Transport, Twins]:
    twins, transport = Twins(), Transport()
    connection = UpstreamConnection(Keeper(), ("192.0.2.1", 80), twins.timers, twins.clock.monotonic)
    connection.makeConnection(transport)
    return connection, transport, twins


def test_it_closes_when_it_was_idle_long_enough() -> None:
    connection, transport, twins = connected()
    connection.rest_until(twins.clock.monotonic() + 10.0)
    twins.clock.advance(9.9)
    assert transport.did == []
    twins.clock.advance(0.2)
    assert transport.did == ["close"]


def test_a_target_that_does_not_take_the_rest_is_cut_off() -> None:
    connection, transport, twins = connected()
    connection.close()
    twins.clock.advance(FLUSH_SECONDS - 0.1)
    assert transport.did == ["close"]
    twins.clock.advance(0.2)
    assert transport.did == ["close", "abort"]


def test_a_tunnel_has_a_time_of_its_own() -> None:
    connection, transport, twins = connected()
    connection.join(object())
    connection.close()
    twins.clock.advance(FLUSH_SECONDS + 0.1)
    assert transport.did == ["close"]


def test_what_is_closed_leaves_no_timer() -> None:
    connection, _, twins = connected()
    connection.close()
    connection.connectionLost()
    connection.close()
    assert twins.timers.waiting() == []
