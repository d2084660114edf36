"""Sticky sessions: a cookie that leads a client back to the target it had before."""

from __future__ import annotations

import hmac
from base64 import urlsafe_b64encode
from collections.abc import Iterable
from hashlib import sha256
from typing import Final

from pydantic import SecretStr

from apigateway.config.model import Sticky as StickySettings
from apigateway.flow.exchange import Exchange, Slot
from apigateway.flow.target_state import TargetState
from apigateway.wire.cookies import cookie_values, remove_cookie
from apigateway.wire.message import Response

SHORTEST_SECRET: Final = 16


class SecretTooShort(ValueError):
    """setting: the one whose secret it is."""

    def __init__(self, setting: str) -> None:
        super().__init__(f"a secret has {SHORTEST_SECRET} characters at least")
        self.setting = setting


class Session:
    """What a cookie of ours says. current: it was signed with the secret of today."""

    __slots__ = ("current", "target")

    def __init__(self, target: TargetState, current: bool) -> None:
        self.target = target
        self.current = current


SESSION: Final[Slot[Session]] = Slot("sticky-session", "what the cookie of a sticky session says")


class Sticky:
    """The sessions of one revision's upstream.

    A value is the HMAC-SHA256, under the secret, of the target's place in the configuration: upstream, name and url. So
    nobody can make one, it tells nothing of what it stands for, nothing has to be kept, and whoever has the same
    secret reads it: other workers, the next revision, the same worker after a restart. A value is looked up in a table
    of those that there are, so that a request costs no cryptography. SecretTooShort where one is.
    """

    def __init__(self, upstream: str, settings: StickySettings) -> None:
        self._upstream = upstream
        self._forward = settings.forward
        self.cookie = cookie_name(upstream, settings)
        self._secrets = [_key("secret", settings.secret)]
        if settings.previous_secret is not None:
            self._secrets.append(_key("previous_secret", settings.previous_secret))
        self._sessions: dict[str, Session] = {}
        self._values: dict[TargetState, str] = {}
        self._attributes = _attributes(settings)
        self._always_secure = settings.secure == "always" or settings.same_site == "none"
        self._secure_over_tls = settings.secure != "never"

    def arrange(self, states: Iterable[TargetState]) -> None:
        """These are the targets that clients may stay with, from now on."""
        self._sessions, before, self._values = {}, self._values, {}
        for state in states:
            self._values[state] = before.get(state) or self._value(self._secrets[0], state)
            for secret in self._secrets[1:]:
                self._sessions[self._value(secret, state)] = Session(state, False)
            self._sessions[self._values[state]] = Session(state, True)

    def begin(self, exchange: Exchange, now: float) -> None:
        """Read the cookie, and take it out of what is sent on.

        A client may have several of this name, as of another path: the first counts whose target is there for it, lest
        an old one that leads nowhere moves it each time.
        """
        headers = exchange.request.headers
        values = cookie_values(headers, self.cookie)
        if not values:
            return
        found = [session for session in map(self._sessions.get, values) if session is not None]
        if found:
            exchange.put(SESSION, next((one for one in found if one.target.stays(now)), found[0]))
        if not self._forward:
            remove_cookie(headers, self.cookie)

    def target(self, exchange: Exchange) -> TargetState | None:
        """The target that the exchange's client had before, by the cookie that `begin` read."""
        session = exchange.take(SESSION)
        return None if session is None else session.target

    def answer(self, exchange: Exchange, target: TargetState, response: Response) -> None:
        """Give the client a cookie with the answer of a target, where it has another one, or none.

        Who was answered by a failover target keeps the one that it has: its own target may come back.
        """
        value = self._values.get(target)
        session = exchange.take(SESSION)
        if value is None or (session is not None and session.target is target and session.current):
            return
        secure = self._always_secure or (self._secure_over_tls and exchange.request.scheme == "https")
        line = f"{self.cookie}={value}{self._attributes}{'; Secure' if secure else ''}"
        response.headers.lines.append((b"set-cookie", line.encode("latin-1")))

    def _value(self, secret: bytes, state: TargetState) -> str:
        place = "\0".join(("sticky", self._upstream, state.name, state.url))
        return urlsafe_b64encode(hmac.digest(secret, place.encode(), sha256)).rstrip(b"=").decode("ascii")


def cookie_name(upstream: str, settings: StickySettings) -> str:
    """The name that is configured; else one of the upstream's own, since two that share a cookie would take it from
    each other all the time."""
    return settings.cookie or "gw-" + sha256(upstream.encode()).hexdigest()[:8]


def _key(setting: str, secret: SecretStr) -> bytes:
    text = secret.get_secret_value()
    if len(text) < SHORTEST_SECRET and "${" not in text:  # a reference that has no value yet is told elsewhere
        raise SecretTooShort(setting)
    return text.encode()


def _attributes(settings: StickySettings) -> str:
    age = "" if settings.ttl is None else f"; Max-Age={int(settings.ttl)}"
    return f"; Path={settings.path}{age}; HttpOnly; SameSite={settings.same_site.capitalize()}"
