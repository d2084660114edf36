"""The cases of http11probe, and the octets of those that its data only describes."""

from __future__ import annotations

import json
from dataclasses import dataclass
from pathlib import Path
from typing import Any

PASS, WARN, FAIL = "pass", "warn", "fail"


@dataclass(frozen=True)
class ProbeCase:
    """requests: octets, with `{HOST}` for the gateway's own. given: the case as it stands in the data."""

    id: str
    suite: str
    level: str
    sequence: bool
    requests: tuple[bytes, ...]
    given: dict[str, Any]

    @property
    def scored(self) -> bool:
        return bool(self.given["scored"])

    @property
    def waits(self) -> bool:
        """No answer at all is right, too: the request is never complete."""
        return self.given.get("no_response_timeout") == PASS

    def by_rule(self, status: int | None, closed: bool) -> str:
        """The verdict of the data's own fields; of a single request."""
        if status is None:
            given = self.given["no_response_then_close" if closed else "no_response_timeout"]
            return str(given)
        for verdict in (PASS, WARN):
            if any(low <= status <= high for low, high in self.given[f"{verdict}_status"]):
                return verdict
        return FAIL


def read_cases(folder: Path) -> list[ProbeCase]:
    """All of them, in the data's order."""
    return [_case(given) for given in json.loads((folder / "cases.json").read_bytes())["cases"]]


def _case(given: dict[str, Any]) -> ProbeCase:
    octets = WRITTEN.get(given["id"]) or tuple(one.encode("latin-1") for one in given["requests"])
    return ProbeCase(
        given["id"], given["suite"], given["level"], given["kind"] == "sequence", octets, given
    )


_GET = b"GET / HTTP/1.1\r\nHost: {HOST}\r\n\r\n"
_ECHO = b"GET /echo HTTP/1.1\r\nHost: {HOST}\r\n"


def _smuggled(*fields: bytes, body: bytes = b"0\r\n\r\n" + _GET, method: bytes = b"POST") -> tuple[bytes, ...]:
    """A request whose body holds another one, and a request behind it. `{n}`: the body's length."""
    lines = b"".join(field.replace(b"{n}", b"%d" % len(body)) + b"\r\n" for field in fields)
    return (b"%b / HTTP/1.1\r\nHost: {HOST}\r\n%b\r\n%b" % (method, lines, body), _GET)


def _get(line: bytes) -> bytes:
    return b"GET / HTTP/1.1\r\nHost: {HOST}\r\n%b\r\n\r\n" % line


_LENGTH, _CHUNKED = b"Content-Length: {n}", b"Transfer-Encoding: chunked"
_DATE = b"Last-Modified: Mon, 01 Jan 2024 00:00:00 GMT"
SINCE = _DATE.replace(b"Last-Modified", b"If-Modified-Since")

# The data describes these: they were made by code, or hold octets that were lost on the way ("?" stands there now).
WRITTEN: dict[str, tuple[bytes, ...]] = {
    "COMP-LONG-URL-OK": (b"GET /" + b"a" * 7980 + b" HTTP/1.1\r\nHost: {HOST}\r\n\r\n",),
    "SMUG-CLTE-SMUGGLED-GET": _smuggled(_LENGTH, _CHUNKED),
    "SMUG-CLTE-SMUGGLED-GET-CL-PLUS": _smuggled(b"Content-Length: +{n}", _CHUNKED),
    "SMUG-CLTE-SMUGGLED-GET-CL-NON-NUMERIC": _smuggled(b"Content-Length: {n}a", _CHUNKED),
    "SMUG-CLTE-SMUGGLED-GET-TE-OBS-FOLD": _smuggled(_LENGTH, b"Transfer-Encoding:\r\n chunked"),
    "SMUG-CLTE-SMUGGLED-HEAD": _smuggled(
        _LENGTH, _CHUNKED, body=b"0\r\n\r\nHEAD / HTTP/1.1\r\nHost: {HOST}\r\n\r\n"
    ),
    "SMUG-CLTE-SMUGGLED-GET-TE-TRAILING-SPACE": _smuggled(_LENGTH, b"Transfer-Encoding: chunked "),
    "SMUG-CLTE-SMUGGLED-GET-TE-LEADING-COMMA": _smuggled(_LENGTH, b"Transfer-Encoding: , chunked"),
    "SMUG-CLTE-SMUGGLED-GET-TE-CASE-MISMATCH": _smuggled(_LENGTH, b"Transfer-Encoding: Chunked"),
    "SMUG-TE-DUPLICATE-HEADERS-SMUGGLED-GET": _smuggled(_LENGTH, _CHUNKED, b"Transfer-Encoding: identity"),
    "SMUG-TECL-SMUGGLED-GET": _smuggled(
        _CHUNKED, b"Content-Length: 4", body=b"%x\r\n%b\r\n0\r\n\r\n" % (len(_GET), _GET)
    ),
    "SMUG-DUPLICATE-CL-SMUGGLED-GET": _smuggled(b"Content-Length: 5", _LENGTH, body=b"hello" + _GET),
    "SMUG-GET-CL-PREFIX-DESYNC": _smuggled(_LENGTH, method=b"GET", body=b"GET /smuggled HTTP/1.1\r\nX-Rest: "),
    "MAL-LONG-URL": (b"GET /" + b"a" * 100_000 + b" HTTP/1.1\r\nHost: {HOST}\r\n\r\n",),
    "MAL-LONG-HEADER-VALUE": (_get(b"X-Big: " + b"a" * 100_000),),
    "MAL-MANY-HEADERS": (_get(b"\r\n".join(b"X-%d: a" % number for number in range(10_000))),),
    "MAL-LONG-HEADER-NAME": (_get(b"a" * 100_000 + b": a"),),
    "MAL-LONG-METHOD": (b"A" * 100_000 + b" / HTTP/1.1\r\nHost: {HOST}\r\n\r\n",),
    "MAL-CHUNK-EXT-64K": (
        b"POST / HTTP/1.1\r\nHost: {HOST}\r\n%b\r\n\r\n5;%b\r\nhello\r\n0\r\n\r\n" % (_CHUNKED, b"a" * 65_536),
    ),
    "MAL-CONTROL-CHARS-HEADER": (_get(b"X-Test: abc\x07\x08\x0ef"),),
    "MAL-NON-ASCII-HEADER-NAME": (_get(b"X-T\xc3\xabst: value"),),
    "MAL-NON-ASCII-URL": (b"GET /caf\xc3\xa9 HTTP/1.1\r\nHost: {HOST}\r\n\r\n",),
    "MAL-URL-OVERLONG-UTF8": (b"GET /\xc0\xaf HTTP/1.1\r\nHost: {HOST}\r\n\r\n",),
    "COOK-OVERSIZED": (_ECHO + b"Cookie: big=" + b"a" * 65_536 + b"\r\n\r\n",),
    "COOK-NUL": (_ECHO + b"Cookie: a=b\0c\r\n\r\n",),
    "COOK-CONTROL-CHARS": (_ECHO + b"Cookie: a=b\x01\x02\x03c\r\n\r\n",),
    "COOK-MANY-PAIRS": (_ECHO + b"Cookie: " + b"; ".join(b"k%d=v" % n for n in range(1000)) + b"\r\n\r\n",),
    "CAP-ETAG-304": (_GET, _get(b'If-None-Match: "v1"')),
    "CAP-LAST-MODIFIED-304": (_GET, _get(SINCE)),
    "CAP-ETAG-IN-304": (_GET, _get(b'If-None-Match: "v1"')),
    "CAP-INM-PRECEDENCE": (
        _GET, _get(b'If-None-Match: "v1"\r\nIf-Modified-Since: Sat, 01 Jan 2000 00:00:00 GMT'),
    ),
    "CAP-INM-UNQUOTED": (_GET, _get(b"If-None-Match: v1")),
    "CAP-ETAG-WEAK": (_GET, _get(b'If-None-Match: W/"v1"')),
}
