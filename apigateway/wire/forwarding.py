"""Who the client is behind proxies, and what the upstream is told about it (RFC 7239; RFC 9110 7.6)."""

from __future__ import annotations

import re
from typing import Literal

from apigateway.wire.framing import is_token, valid_host
from apigateway.wire.ipset import IpSet, parse_address
from apigateway.wire.message import Request

Style = Literal["x-forwarded", "rfc7239", "both", "none"]
Lines = list[tuple[bytes, bytes]]

# One forwarded-pair (RFC 7239 4): a token, "=", a token or quoted string.
_PAIR = re.compile(r'\s*([!#$%&\'*+\-.^_`|~0-9A-Za-z]+)=(?:"((?:[^"\\]|\\.)*)"|([^",;\s]*))\s*')
_PORTED = re.compile(r"\[([0-9A-Fa-f:.]+)\](?::[0-9]+)?|([0-9.]+):[0-9]+")


def client_address(peer: str, request: Request, trusted: IpSet) -> str:
    """The address that answers for a request: of the nearest hop that is not one of our own proxies.

    From the right, past trusted hops; the lines of X-Forwarded-For are one list, in order, and so are
    those of Forwarded. What is no address ends the walk at the last good hop, so that nobody passes for
    another by way of what the proxies did not write (RFC 7239 8.1). Where both fields came and lead to
    different addresses, a proxy passed on what the client wrote in one of them: neither is believed, and
    the peer answers.
    """
    if request.forwarded is None or peer not in trusted:
        return peer
    ours, standard = _listed(request.forwarded), _elements(request.forwarded)
    if not standard:
        return _nearest(peer, ours, trusted)
    found = _nearest(peer, _nodes(standard), trusted)
    return found if not ours or found == _nearest(peer, ours, trusted) else peer


def _nearest(peer: str, hops: list[str], trusted: IpSet) -> str:
    current = peer
    for hop in reversed(hops):
        address = _address(hop)
        if address is None:
            return current
        current = address
        if address not in trusted:
            return current
    return current


def trusted_scheme_host(peer: str, request: Request, trusted: IpSet) -> tuple[str, bytes]:
    """(scheme, authority) that the client used: by a trusted peer's word, else as it reached us.

    Of a list the last member counts, which is the peer's own; what is not valid is not believed.
    """
    scheme, authority = request.scheme, request.authority
    if request.forwarded is None or peer not in trusted:
        return scheme, authority
    said_scheme, said_host = _said(request.forwarded)
    if said_scheme in ("http", "https"):
        scheme = said_scheme
    if said_host and len(said_host) <= 300 and valid_host(said_host):
        authority = said_host
    return scheme, authority


def forwarded_lines(
    style: Style, request: Request, peer: str, trusted: bool, *, port: int | None = None
) -> Lines:
    """The fields that tell an upstream where a request came from.

    trusted: the peer is one of our proxies, so what it sent is continued; else it is replaced. Of
    X-Forwarded-For and Forwarded both, as many hops from the right as they agree on. port: the port the
    client reached, where the authority does not say (default: the scheme's).
    """
    if style == "none":
        return []
    before = request.forwarded if trusted else None
    scheme, authority = request.scheme, request.authority
    hops: list[str] = []
    if before is not None:
        hops = _hops(before)
        said_scheme, said_host = _said(before)
        scheme = said_scheme if said_scheme in ("http", "https") else scheme
        authority = said_host if said_host and valid_host(said_host) else authority
    lines: Lines = []
    if style != "rfc7239":
        lines = _x_forwarded(hops, peer, scheme, authority, port)
        said_port = _last(before, b"x-forwarded-port") if before is not None else b""
        if said_port.isdigit():
            lines[-1] = (b"x-forwarded-port", said_port)
    if style != "x-forwarded":
        lines.append((b"forwarded", _forwarded(before or [], hops, peer, request)))
    return lines


def via(version: str, name: str = "apigateway") -> bytes:
    """A member of Via for a message received in this HTTP version (RFC 9110 7.6.3)."""
    return f"{version} {name}".encode("ascii")


def last_hop(request: Request) -> bool:
    """Whether Max-Forwards ends a request here; else it is counted down.

    For OPTIONS and TRACE only (RFC 9110 7.6.2).
    """
    if request.method not in (b"OPTIONS", b"TRACE"):
        return False
    value = request.headers.get(b"max-forwards")
    if value is None or not value.isdigit() or len(value) > 9:
        return False
    if int(value) == 0:
        return True
    request.headers.set(b"max-forwards", b"%d" % (int(value) - 1))
    return False


def _x_forwarded(hops: list[str], peer: str, scheme: str, authority: bytes, port: int | None) -> Lines:
    addresses = ", ".join([*hops, peer]) if hops else peer
    lines = [
        (b"x-forwarded-for", addresses.encode("latin-1")),
        (b"x-forwarded-proto", b"https" if scheme == "https" else b"http"),
    ]
    if authority:
        lines.append((b"x-forwarded-host", authority))
    lines.append((b"x-forwarded-port", _port(authority, scheme) if port is None else b"%d" % port))
    return lines


def _port(authority: bytes, scheme: str) -> bytes:
    port = authority.rpartition(b":")[2]
    if port != authority and port.isdigit():
        return port
    return b"443" if scheme == "https" else b"80"


def _forwarded(before: Lines, hops: list[str], peer: str, request: Request) -> bytes:
    chain = [value.decode("latin-1") for name, value in before if name == b"forwarded"]
    if not chain or _listed(before):
        chain = [f"for={_node(hop)}" for hop in hops]
    element = f"for={_node(peer.partition('%')[0])}"  # a zone means something on this machine only
    if request.authority:
        host = request.authority.decode("latin-1")
        element += f";host={host}" if is_token(request.authority) else f';host="{host}"'
    return ", ".join([*chain, f"{element};proto={request.scheme}"]).encode("latin-1")


def _node(address: str) -> str:
    """RFC 7239 6: an IPv6 address in brackets and quotes; "unknown" for what is no address."""
    parsed = _address(address)
    if parsed is None:
        return "unknown"
    return f'"[{parsed}]"' if ":" in parsed else parsed


def _hops(forwarded: Lines) -> list[str]:
    """The addresses that proxies wrote down, the client's first; "" for one that cannot be read.

    Of two fields only what both say: it may be that proxies know the one, and pass the other on unread.
    """
    ours, standard = _listed(forwarded), _nodes(_elements(forwarded))
    if not ours or not standard:
        return ours or standard
    agreed = 0
    for mine, theirs in zip(reversed(ours), reversed(standard), strict=False):
        if _address(mine) != _address(theirs):
            break
        agreed += 1
    return ours[len(ours) - agreed :]


def _listed(forwarded: Lines) -> list[str]:
    """The members of X-Forwarded-For."""
    joined = [value for name, value in forwarded if name == b"x-forwarded-for"]
    return [hop.strip(" \t") for hop in b",".join(joined).decode("latin-1").split(",")] if joined else []


def _nodes(elements: list[dict[str, str]]) -> list[str]:
    return [element.get("for", "") for element in elements]


def _elements(forwarded: Lines) -> list[dict[str, str]]:
    """The elements of Forwarded (RFC 7239 4); {} for one that cannot be read.

    After such a one reading goes on at the next comma: what a client wrote badly, a quote left open, must
    not hide what a proxy added behind it.
    """
    values = [value for name, value in forwarded if name == b"forwarded"]
    if not values:
        return []
    text = b",".join(values).decode("latin-1")
    elements: list[dict[str, str]] = []
    element: dict[str, str] = {}
    at = 0
    while at < len(text):
        pair = _PAIR.match(text, at)
        if pair is None or text[pair.end() : pair.end() + 1] not in (",", ";", ""):
            at = text.find(",", at) + 1 or len(text)
            elements.append({})
            element = {}
            continue
        quoted = pair[2]
        element[pair[1].lower()] = re.sub(r"\\(.)", r"\1", quoted) if quoted is not None else pair[3]
        at = pair.end() + 1
        if text[at - 1 : at] != ";" or at == len(text):
            elements.append(element)
            element = {}
    return elements


def _address(hop: str) -> str | None:
    """An address without its port and brackets, in its one spelling; None for anything else.

    An address with a zone is none here (RFC 7239 6, RFC 3986 3.2.2): a zone could be any text of a client's.
    """
    if "%" in hop:
        return None
    ported = _PORTED.fullmatch(hop)
    address = parse_address((ported[1] or ported[2]) if ported else hop)
    return None if address is None else str(address)


def _said(forwarded: Lines) -> tuple[str, bytes]:
    """(scheme, host) as the last proxy wrote them, unchecked; "" and b"" where it did not."""
    scheme = _last(forwarded, b"x-forwarded-proto").decode("latin-1").lower()
    host = _last(forwarded, b"x-forwarded-host")
    if not scheme and not host:
        elements = _elements(forwarded)
        if elements:
            scheme = elements[-1].get("proto", "").lower()
            host = elements[-1].get("host", "").encode("latin-1")
    return scheme, host


def _last(forwarded: Lines, name: bytes) -> bytes:
    for key, value in reversed(forwarded):
        if key == name:
            return value.rpartition(b",")[2].strip(b" \t")
    return b""
