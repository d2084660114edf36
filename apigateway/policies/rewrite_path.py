"""Changes the path that the upstream gets.

One of three ways: `replace` puts a fixed path in place of it; `regex` with `to` replaces each match in it
(RE2 syntax, which runs in linear time; `\\1` is the first group); `strip_prefix` and `add_prefix`,
together or alone, take a prefix off by whole segments and put one in front. A path that does not have the
prefix, or does not match, stays as it is.

It works on the path as the client sent it, percent-encoding and all, so whatever it does not touch
reaches the upstream byte for byte, and the query always does. A path that comes out of it without a
leading `/` gets one. One that comes out with a dot segment, an empty segment that was not there before,
or a broken escape is refused with 400: `/v1../admin` without `/v1` must not become `/../admin`.
"""

from __future__ import annotations

import re

import re2  # type: ignore[import-untyped]
from pydantic import Field
from zope.interface import implementer

from apigateway.config.model import Settings
from apigateway.flow.exchange import Exchange
from apigateway.flow.faults import BAD_REQUEST, Fault
from apigateway.flow.interfaces import IOnRequest
from apigateway.flow.kinds import Call, Example, kind
from apigateway.flow.outcome import Outcome
from apigateway.flow.services import Services
from apigateway.wire.message import Refusal
from apigateway.wire.target import DEFAULT_RULES, PathRules, split_path

# RFC 3986 3.3 and 2.1: what a path may be written with; "?" and "#" end one.
_PATH_TEXT = re.compile(rb"(?:[A-Za-z0-9\-._~!$&'()*+,;=:@/]|%[0-9A-Fa-f]{2})*")
_GROUP = re.compile(rb"\\([0-9])")
# For a path that came with empty segments: the revision keeps them, so they are no work of ours.
_EMPTY_KEPT = PathRules(empty_segments="keep")


class Config(Settings):
    """How the path is changed."""

    replace: str | None = Field(default=None, description="The path to send instead.")
    regex: str | None = Field(
        default=None, description="RE2 expression; each match of it in the path is replaced by `to`."
    )
    to: str | None = Field(
        default=None, description=r"What to put in place of a match; \1 to \9 are its groups."
    )
    strip_prefix: str | None = Field(default=None, description="Prefix to take off, by whole segments.")
    add_prefix: str | None = Field(default=None, description="Prefix to put in front, after strip_prefix.")


@implementer(IOnRequest)
class RewritePath:
    """Changes the path that the upstream gets; the query stays byte for byte."""

    def __init__(self, config: Config) -> None:
        prefixed = config.strip_prefix is not None or config.add_prefix is not None
        if (config.replace is not None) + (config.regex is not None) + prefixed != 1:
            raise ValueError("give one of: replace; regex and to; strip_prefix or add_prefix or both")
        if (config.regex is None) != (config.to is None):
            raise ValueError("regex and to belong together")
        self._replace = None if config.replace is None else _path("replace", config.replace)
        self._regex = None if config.regex is None else _compiled(config.regex)
        self._to = b"" if config.to is None else _replacement(config.to, self._regex)
        self._strip = _prefix("strip_prefix", config.strip_prefix)
        self._add = _prefix("add_prefix", config.add_prefix)

    def provision(self, services: Services) -> None:
        """Nothing to prepare."""

    def close(self) -> None:
        """Nothing to let go of."""

    def on_request(self, exchange: Exchange) -> Outcome:
        """Change the path. Fault(BAD_REQUEST) where no path comes out that all would read alike."""
        request = exchange.request
        if request.target == b"*":  # RFC 9112 3.2.4: about the server, not about a path
            return None
        path = self._rewritten(request.path)
        if path != request.path:
            split = split_path(path, _EMPTY_KEPT if b"//" in request.path else DEFAULT_RULES)
            if isinstance(split, Refusal):
                raise Fault(BAD_REQUEST, public=split.detail, private="of a path that rewrite-path made")
            request.retarget(path if request.query is None else path + b"?" + request.query)
        return None

    def _rewritten(self, path: bytes) -> bytes:
        if self._replace is not None:
            return self._replace
        if self._regex is not None:
            path = self._regex.sub(self._to, path)
        else:
            if self._strip and path.startswith(self._strip) and path[len(self._strip) :][:1] in (b"", b"/"):
                path = path[len(self._strip) :]
            if self._add:
                # "/v1" in front of "/" is "/v1/": the path keeps the slash it ended with.
                path = self._add + (path if path.startswith(b"/") or not path else b"/" + path)
        return path if path.startswith(b"/") else b"/" + path


def _path(field: str, text: str) -> bytes:
    path = text.encode("utf-8")
    if not path.startswith(b"/") or _PATH_TEXT.fullmatch(path) is None:
        raise ValueError(
            f'{field}: a path begins with "/" and is written percent-encoded, without "?" and "#"'
        )
    split = split_path(path)
    if isinstance(split, Refusal):
        raise ValueError(f"{field}: {split.detail}")
    return path


def _prefix(field: str, text: str | None) -> bytes:
    return b"" if text is None else _path(field, text).rstrip(b"/")


def _compiled(pattern: str) -> re2._Regexp:
    options = re2.Options()
    options.log_errors = False
    options.encoding = re2.Options.Encoding.LATIN1
    try:
        return re2.compile(pattern.encode("latin-1"), options)
    except (re2.error, UnicodeEncodeError) as error:
        reason = error.args[0]
        raise ValueError(f"regex: {reason.decode() if isinstance(reason, bytes) else reason}") from error


def _replacement(text: str, regex: re2._Regexp | None) -> bytes:
    to = text.encode("utf-8")
    if _PATH_TEXT.fullmatch(_GROUP.sub(b"", to)) is None:
        raise ValueError(r'to: a path is written percent-encoded, without "?" and "#"; \1 is the first group')
    groups = 0 if regex is None else regex.groups
    if any(int(number) > groups for number in _GROUP.findall(to)):
        raise ValueError(f"to: regex has {groups} group(s)")
    return to


KIND = kind("rewrite-path", config=Config, policy=RewritePath)

EXAMPLES = (
    Example(
        "Take a prefix off and put another in front",
        {"strip_prefix": "/shop", "add_prefix": "/v2"},
        (
            Call(target="/shop/pay?x=1", sent_target="/v2/pay?x=1"),
            Call(target="/shop", sent_target="/v2"),
            Call(target="/shopping", sent_target="/v2/shopping"),
        ),
    ),
    Example(
        "Turn a path around with groups; encoded octets stay as they came",
        {"regex": "^/users/([^/]+)/orders$", "to": r"/orders/by-user/\1"},
        (
            Call(
                target="/users/a%2Fb/orders?sort=-date&q=1+2",
                sent_target="/orders/by-user/a%2Fb?sort=-date&q=1+2",
            ),
            Call(target="/users/7", sent_target="/users/7"),
        ),
    ),
    Example(
        "Send everything to one place, whatever the query is",
        {"replace": "/maintenance"},
        (
            Call(
                target="/any/where?grid[0:1:0]&flag&u=%c3%a9",
                sent_target="/maintenance?grid[0:1:0]&flag&u=%c3%a9",
            ),
        ),
    ),
)
