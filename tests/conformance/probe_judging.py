"""The verdict on each case of http11probe: by its fields, and by the RFC where these do not say enough."""

from __future__ import annotations

import re
from collections.abc import Callable
from dataclasses import dataclass

from probe_cases import FAIL, PASS, WARN
from probing import Probed

# Where an answer is neither what the case would like best nor wrong, or where the fields of the data are not the last
# word: why the gateway does so.
NOTES = {
    "COMP-LEADING-CRLF": "Empty lines before a request are to be ignored (RFC 9112 2.2: one at least, SHOULD); up to "
    "eight are.",
    "COMP-HTTP10-NO-HOST": "Host is demanded of HTTP/1.1 only (RFC 9112 3.2).",
    "COMP-HTTP12-VERSION": "505, which the case allows. A higher minor version should be read as the highest known one "
    "(RFC 9110 2.5, SHOULD); there is no HTTP/1.2, llhttp does not read it, and no client that means well sends it.",
    "COMP-UPGRADE-INVALID-VER": "The handshake is the upstream's to judge (RFC 6455 4.4); the one here took it for a "
    "plain GET. The gateway switches protocols only after the upstream's 101.",
    "COMP-GET-WITH-CL-BODY": "Content of a GET is framed like any other and passed on; it has no meaning of its own "
    "(RFC 9110 9.3.1), and the case allows 2xx.",
    "COMP-DUPLICATE-CT": "Content-Type frames nothing; both lines go as they came to the upstream (RFC 9110 5.3), "
    "which has to judge them.",
    "COMP-ACCEPT-NONSENSE": "What can be accepted is for the upstream to say (RFC 9110 12.5.1).",
    "SMUG-CL-LEADING-ZEROS": "Leading zeros are within 1*DIGIT (RFC 9110 8.6); upstreams get the number written anew.",
    "SMUG-CL-DOUBLE-ZERO": "As SMUG-CL-LEADING-ZEROS.",
    "SMUG-CL-LEADING-ZEROS-OCTAL": "As SMUG-CL-LEADING-ZEROS: decimal, always.",
    "SMUG-CL-TRAILING-SPACE": "White space around a value is no part of it (RFC 9110 5.5); the number is written anew.",
    "SMUG-CL-EXTRA-LEADING-SP": "As SMUG-CL-TRAILING-SPACE.",
    "MAL-CL-TAB-BEFORE-VALUE": "As SMUG-CL-TRAILING-SPACE.",
    "SMUG-TRANSFER_ENCODING": "Another field than Transfer-Encoding; it frames nothing, and does not reach the "
    "upstream, which might read `_` as `-`.",
    "SMUG-EXPECT-100-CL": "A client need not wait for the 100 (RFC 9110 10.1.1); the body is framed by its length.",
    "SMUG-TRAILER-HOST": "What may not be a trailer field is dropped (RFC 9110 6.5.1), before the upstream.",
    "SMUG-TRAILER-AUTH": "As SMUG-TRAILER-HOST.",
    "SMUG-TRAILER-CONTENT-TYPE": "As SMUG-TRAILER-HOST.",
    "SMUG-HEAD-CL-BODY": "Framing does not depend on the method (RFC 9112 6.3): five octets are read as the body and "
    "passed on, and the next request is read behind them.",
    "SMUG-OPTIONS-CL-BODY": "As SMUG-HEAD-CL-BODY.",
    "SMUG-ABSOLUTE-URI-HOST-MISMATCH": "The target's authority wins over Host (RFC 9112 3.2.2, MUST): it chooses "
    "the Api, and is what the upstream is told.",
    "SMUG-CL0-BODY-POISON": "What follows a complete request is the next one (RFC 9112 9.3): `XGET` is no method, "
    "and the connection ends with it.",
    "MAL-LONG-METHOD": "501 and close: RFC 9112 3 asks for it where a method is longer than any known (SHOULD).",
    "MAL-H2-PREFACE": "505, which the case's text allows: HTTP/2 is not spoken on this listener.",
    "MAL-RANGE-OVERLAPPING": "Ranges are for the upstream to give or ignore (RFC 9110 14.2).",
}


@dataclass(frozen=True)
class Verdict:
    """word: pass, warn or fail. The note tells why, where it is not a pass by the case's own fields."""

    probed: Probed
    word: str

    @property
    def id(self) -> str:
        return self.probed.case.id

    @property
    def note(self) -> str:
        return NOTES.get(self.id, "")


def judge(probed: Probed) -> Verdict:
    """The verdict on a case that was sent."""
    return Verdict(probed, _word(probed))


def _word(probed: Probed) -> str:
    case = probed.case
    if _unsafe(probed):
        return FAIL
    if case.id in _REVIEWED:
        return PASS if _REVIEWED[case.id](probed) else FAIL
    if case.sequence:
        return _of_sequence(probed)
    word = case.by_rule(probed.status, probed.closed)
    return WARN if word == FAIL and case.id in _ALLOWED and probed.status in _ALLOWED[case.id] else word


def _unsafe(probed: Probed) -> bool:
    """Whatever a case expects: what is refused reaches no upstream whole, and in framing the connection ends."""
    if probed.poisoned:
        return True
    return probed.refused and (bool(probed.complete) or (probed.case.suite == "Smuggling" and not probed.closed))


def _of_sequence(probed: Probed) -> str:
    """Refused and closed; or each request answered as itself, where its framing is not in doubt."""
    statuses = [answer.status for answer in probed.answers]
    if probed.refused and probed.closed and len(statuses) == 1:
        return PASS
    clear = len(probed.complete) == len(statuses) == len(probed.case.requests)
    if clear and all(200 <= status < 300 for status in statuses) and not probed.case.scored:
        return PASS
    return WARN if probed.case.id in _ALLOWED and statuses[-1] in _ALLOWED[probed.case.id] else FAIL


# Statuses that the text of a case, or the RFC, allows and its fields do not.
_ALLOWED = {
    "COMP-HTTP12-VERSION": (505,),
    "COMP-GET-WITH-CL-BODY": (200,),
    "MAL-LONG-METHOD": (501,),
    "MAL-H2-PREFACE": (505,),
    "SMUG-CL0-BODY-POISON": (501,),
}


def _ok(probed: Probed, body: bytes | None = None) -> bool:
    """2xx; with this body."""
    answer = probed.answers[0] if probed.answers else None
    return answer is not None and 200 <= answer.status < 300 and body in (None, answer.body)


def _field(name: str, shape: str) -> Callable[[Probed], bool]:
    def has(probed: Probed) -> bool:
        return _ok(probed) and re.fullmatch(shape, probed.answers[0].get(name) or "") is not None

    return has


def _second(status: int) -> Callable[[Probed], bool]:
    return lambda probed: [answer.status for answer in probed.answers] == [200, status]


def _origin_got(probed: Probed, *absent: str) -> bool:
    """The upstream got a request whose body is whole, without these fields."""
    return _ok(probed) and probed.complete[0].body == b"hello world" and not {*absent} & {*probed.complete[0].names}


def _refused(probed: Probed) -> bool:
    return probed.status == 400 and probed.closed and not probed.heads


def _not_allowed(probed: Probed) -> bool:
    """RFC 9110 15.5.6: with the methods that are."""
    allow = probed.answers[0].get("allow") or ""
    return probed.status == 405 and {one.strip() for one in allow.split(",")} >= {"GET", "HEAD", "POST"}


_DATE = r"(Mon|Tue|Wed|Thu|Fri|Sat|Sun), \d\d [A-Z][a-z]{2} \d{4} \d\d:\d\d:\d\d GMT"

# What the data marks as doubtful, and what its fields cannot say.
_REVIEWED: dict[str, Callable[[Probed], bool]] = {
    "COMP-POST-CL-BODY": lambda probed: _ok(probed, b"hello"),
    "COMP-CHUNKED-BODY": lambda probed: _ok(probed, b"hello"),
    "COMP-CHUNKED-MULTI": lambda probed: _ok(probed, b"hello world"),
    "COMP-CHUNKED-EXTENSION": lambda probed: _ok(probed, b"hello"),
    "COMP-CHUNKED-TRAILER-VALID": lambda probed: _ok(probed, b"hello"),
    "COMP-CHUNKED-HEX-UPPERCASE": lambda probed: _ok(probed, b"helloworld"),
    # A body would have been taken for an answer more.
    "COMP-HEAD-NO-BODY": lambda probed: _ok(probed, b"") and probed.answers[0].get("content-length") == "2",
    "COMP-405-ALLOW": _not_allowed,
    "COMP-DATE-HEADER": _field("date", ".+"),
    "COMP-DATE-FORMAT": _field("date", _DATE),
    "COMP-NO-1XX-HTTP10": lambda probed: _ok(probed) and not probed.answers[0].interim,
    # The origin breaks the rule; the gateway does not.
    "COMP-NO-CL-IN-204": lambda probed: probed.status == 204 and not probed.answers[0].all("content-length"),
    "COMP-OPTIONS-ALLOW": _field("allow", ".+"),
    "COMP-CONTENT-TYPE": _field("content-type", "text/plain"),
    "COMP-LONG-URL-OK": lambda probed: _ok(probed) and len(probed.complete[0].target) == 7981,
    "COMP-CONNECTION-CLOSE": lambda probed: _ok(probed) and probed.closed,
    "COMP-HTTP10-DEFAULT-CLOSE": lambda probed: _ok(probed) and probed.closed,
    "NORM-UNDERSCORE-CL": lambda probed: _origin_got(probed, "content_length"),
    "NORM-SP-BEFORE-COLON-CL": _refused,
    "NORM-TAB-IN-NAME": _refused,
    "NORM-CASE-TE": _refused,
    "NORM-UNDERSCORE-TE": lambda probed: _origin_got(probed, "transfer_encoding", "transfer-encoding"),
    "COOK-ECHO": lambda probed: _ok(probed) and b"foo=bar" in probed.answers[0].body,
    "COOK-MULTI-HEADER": lambda probed: _ok(probed) and probed.complete[0].all("cookie") == ["a=1", "b=2"],
    "COOK-PARSED-BASIC": lambda probed: _ok(probed, b"foo=bar"),
    "COOK-PARSED-MULTI": lambda probed: _ok(probed, b"a=1\nb=2\nc=3"),
    "CAP-ETAG-304": _second(304),
    "CAP-LAST-MODIFIED-304": _second(304),
    "CAP-ETAG-IN-304": lambda probed: _second(304)(probed) and probed.answers[1].get("etag") == '"v1"',
    "CAP-INM-PRECEDENCE": _second(304),
    "CAP-INM-WILDCARD": _second(304),
    "CAP-IMS-FUTURE": _second(200),
    "CAP-IMS-INVALID": _second(200),
    "CAP-INM-UNQUOTED": _second(200),
    "CAP-ETAG-WEAK": _second(304),
}
