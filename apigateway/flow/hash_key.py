"""What consistent hashing looks at in an exchange."""

from __future__ import annotations

from collections.abc import Callable

from apigateway.config.model import HashOn
from apigateway.flow.exchange import Exchange

HashKey = Callable[[Exchange], bytes]
CompileText = Callable[[str], Callable[[Exchange], str]]


def hash_key(settings: HashOn, compile_text: CompileText | None = None) -> HashKey:
    """The key of an exchange; where what it is made of is absent or empty, the client's address stands in.

    compile_text: makes a function of a CEL expression; it, and the key then, may raise as it does
    (ValueError, Fault). ValueError where the source needs a name and has none.
    """
    source, name = settings.source, settings.name
    if source == "ip":
        return _client
    if source == "path":
        return _path
    if not name:
        raise ValueError(f"hash_on {source} needs a name")
    if source == "header":
        return _or_client(_header(name.lower().encode("ascii", "replace")))
    if source == "cookie":
        return _or_client(_cookie(name.encode("ascii", "replace")))
    if compile_text is None:
        raise ValueError("hash_on expression: expressions are not available here")
    text = compile_text(name)
    return _or_client(lambda exchange: text(exchange).encode("utf-8", "surrogateescape"))


def _client(exchange: Exchange) -> bytes:
    return exchange.client.encode()


def _path(exchange: Exchange) -> bytes:
    return exchange.request.path


def _or_client(key: HashKey) -> HashKey:
    return lambda exchange: key(exchange) or _client(exchange)


def _header(name: bytes) -> HashKey:
    return lambda exchange: exchange.request.headers.get(name) or b""


def _cookie(name: bytes) -> HashKey:
    def key(exchange: Exchange) -> bytes:
        # RFC 6265 5.4: pairs in one field, or in several; the first of a name counts.
        for line in exchange.request.headers.get_all(b"cookie"):
            for pair in line.split(b";"):
                found, mark, value = pair.strip().partition(b"=")
                if mark and found == name:
                    return value
        return b""

    return key
