"""Where the shared state is, from the text of a configuration."""

from __future__ import annotations

import re
from dataclasses import dataclass
from typing import Literal
from urllib.parse import unquote

from apigateway.config.addresses import TcpAddress, UnixAddress, parse_place

_REDIS_PORT = 6379
_SENTINEL_PORT = 26379
_FORMS = (
    'expected "memory:", redis://[user@]host[:port][/db], rediss://…, redis+unix:///path[?db=N], or '
    "redis+sentinel://host[:port],…/service[/db]"
)
# What stands before the host: a password in it may be a reference, which has characters of its own.
_PASSWORD = re.compile(r"([a-z+]+://[^:@/?#]*):((?:\$\{[^}]*\}|[^@/?#])*)@(.*)", re.DOTALL)


@dataclass(frozen=True, slots=True)
class StateUrl:
    """A url that was read. places: of the server, or of the Sentinels that know where it is. service: its name with
    them. user: "" for none. secure: TLS is spoken."""

    kind: Literal["memory", "redis", "sentinel"]
    places: tuple[TcpAddress | UnixAddress, ...] = ()
    user: str = ""
    database: int = 0
    service: str = ""
    secure: bool = False


def split_password(text: str) -> tuple[str, str | None]:
    """A url without its password, and that; None where it has none. A password is percent-decoded, unless it holds a
    reference."""
    match = _PASSWORD.fullmatch(text)
    if match is None:
        return text, None
    before, password, after = match.groups()
    return f"{before}@{after}", password if "${" in password else unquote(password)


def parse_state_url(text: str) -> StateUrl:
    """The url of a state, without a password. Raises ValueError, which does not repeat it."""
    if text == "memory:":
        return StateUrl("memory")
    scheme, separator, rest = text.partition("://")
    if not separator or scheme not in ("redis", "rediss", "redis+unix", "redis+sentinel"):
        raise ValueError(_FORMS)
    before, slash, tail = rest.partition("/")
    user, _, hosts = before.rpartition("@")
    if "@" in user or "@" in tail.partition("?")[0]:
        raise ValueError("characters of a user or password as @ / ? # are percent-encoded, as in %40")
    if "#" in text or ("?" in text and scheme != "redis+unix"):
        raise ValueError("the url of a state holds no fragment, and no query but ?db=N of redis+unix://")
    user = unquote(user)
    if scheme == "redis+unix":
        return _of_socket(user, hosts, slash + tail)
    if scheme == "redis+sentinel":
        service, _, database = tail.partition("/")
        if not service:
            raise ValueError("the name of the service that the Sentinels watch is missing: …/service")
        places = tuple(parse_place(host, _SENTINEL_PORT) for host in hosts.split(","))
        return StateUrl("sentinel", places, user, _database(database), unquote(service))
    return StateUrl(
        "redis", (parse_place(hosts, _REDIS_PORT),), user, _database(tail), secure=scheme == "rediss"
    )


def _of_socket(user: str, host: str, rest: str) -> StateUrl:
    path, question, query = rest.partition("?")
    if host or len(path) < 2:
        raise ValueError("the path of a Unix socket begins with a slash: redis+unix:///path")
    if question and not query.startswith("db="):
        raise ValueError("a query other than ?db=N is not known")
    return StateUrl("redis", (UnixAddress(unquote(path)),), user, _database(query.removeprefix("db=")))


def _database(text: str) -> int:
    if not text:
        return 0
    if not re.fullmatch(r"[0-9]{1,5}", text):
        raise ValueError("a database is a number, 0 unless given")
    return int(text)
