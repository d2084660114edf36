"""Checks of the process settings: addresses, who may manage, whom to believe."""

from __future__ import annotations

from collections.abc import Iterator
from ipaddress import ip_network

from apigateway.config.addresses import TcpAddress, UnixAddress, parse_listen_address, parse_server
from apigateway.config.document import pointer_to
from apigateway.config.doubles import doubles, refusal
from apigateway.config.model import Configuration, Listener, ListenerTls, Management, ProxyProtocol, State
from apigateway.config.state_url import parse_state_url
from apigateway.errors import Problem

_DNS_PORT = 53
_LONGEST_TIMEOUT = 1.0


def check(configuration: Configuration) -> Iterator[Problem]:
    """What is wrong with the half that belongs to the machine."""
    listeners = configuration.listeners
    yield from doubles((listener.name for listener in listeners), "/listeners", "name")
    for i, listener in enumerate(listeners):
        place = pointer_to("listeners", i)
        yield from refusal(parse_listen_address, listener.address, f"{place}/address")
        if listener.tls:
            yield from _tls(listener.tls, f"{place}/tls", bool(configuration.certificates))
        if listener.proxy_protocol:
            yield from _proxy_protocol(listener, listener.proxy_protocol, f"{place}/proxy_protocol")
    yield from _address_taken(configuration)
    if configuration.management:
        yield from _management(configuration.management)
    yield from _state(configuration.state)
    for i, network in enumerate(configuration.trusted_proxies):
        yield from refusal(_network, network, pointer_to("trusted_proxies", i))
    for i, server in enumerate(configuration.resolver.servers):
        yield from refusal(_server, server, pointer_to("resolver", "servers", i))


def _tls(tls: ListenerTls, place: str, revision_has_some: bool) -> Iterator[Problem]:
    if not tls.certificates and not revision_has_some:
        message = "there is no certificate, here or in the revision: no handshake could succeed"
        yield Problem(f"{place}/certificates", message)
    authentication = tls.client_auth
    if authentication.mode != "none" and authentication.ca is None:
        message = f'mode "{authentication.mode}" needs the CAs that may have signed'
        yield Problem(f"{place}/client_auth/ca", message)
    if authentication.crl is not None and authentication.ca is None:
        yield Problem(f"{place}/client_auth/crl", "a revocation list has no use without its CAs")


def _proxy_protocol(listener: Listener, settings: ProxyProtocol, place: str) -> Iterator[Problem]:
    if isinstance(_read(listener.address), UnixAddress):
        yield Problem(place, "the peers of a Unix socket have no addresses by which they could be trusted")
    for i, network in enumerate(settings.trusted):
        yield from refusal(_network, network, f"{place}/trusted/{i}")


def _address_taken(configuration: Configuration) -> Iterator[Problem]:
    places = [(f"/listeners/{i}/address", each.address) for i, each in enumerate(configuration.listeners)]
    if configuration.management:
        places.append(("/management/address", configuration.management.address))
    first: dict[str, str] = {}
    for place, text in places:
        address = _read(text)
        if address is None or (isinstance(address, TcpAddress) and address.port == 0):
            continue
        if first.setdefault(str(address), place) != place:
            yield Problem(place, f'"{address}" is taken by {first[str(address)]}')


def _read(text: str) -> TcpAddress | UnixAddress | None:
    try:
        return parse_listen_address(text)
    except ValueError:
        return None  # reported where it stands


def _management(management: Management) -> Iterator[Problem]:
    yield from refusal(parse_listen_address, management.address, "/management/address")
    yield from doubles((token.name for token in management.tokens), "/management/tokens", "name")
    hashes = (token.sha256 for token in management.tokens)
    yield from doubles(hashes, "/management/tokens", "sha256", shown=False)
    address = _read(management.address)
    if isinstance(address, TcpAddress) and not address.loopback and not management.tokens:
        message = "others can reach this address: it needs tokens, or a loopback address as 127.0.0.1"
        yield Problem("/management/address", message)


def _state(state: State) -> Iterator[Problem]:
    try:
        where = parse_state_url(state.url)
    except ValueError as error:
        yield Problem("/state/url", str(error))
        return
    needs = {
        "password": (state.password is not None, where.kind != "memory", "there is nothing to log in to"),
        "sentinel_password": (state.sentinel_password is not None, where.kind == "sentinel", "there are no Sentinels"),
        "ca": (state.ca is not None, where.secure, "TLS is spoken with rediss:// only"),
        "certificate": (state.certificate is not None, where.secure, "TLS is spoken with rediss:// only"),
    }
    for key, (given, fits, why) in needs.items():
        if given and not fits:
            yield Problem(f"/state/{key}", why)
    if state.timeout > _LONGEST_TIMEOUT:
        yield Problem("/state/timeout", "every request may have to wait for so long: expected 1s at most")
    if where.user and state.password is None:
        yield Problem("/state/password", f'the user "{where.user}" needs a password')


def _server(text: str) -> None:
    parse_server(text, _DNS_PORT)


def _network(text: str) -> None:
    try:
        ip_network(text)
    except ValueError:
        try:
            meant = ip_network(text, strict=False)
        except ValueError:
            raise ValueError('expected an address or a network, as in "10.0.0.0/8"') from None
        raise ValueError(f"the network has bits set behind its prefix: {meant} is probably meant") from None
