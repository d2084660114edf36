"""What can go wrong in an exchange, as values: a kind says the status, whose fault it was, and the stable type."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Literal

TYPE_BASE = "https://apigateway.dev/problems/"


@dataclass(frozen=True, slots=True)
class FaultKind:
    """A kind of fault.

    slug: end of the problem type URI (RFC 9457), stable for ever. title: the same for every occurrence.
    whose: "client", "upstream" or "gateway". proxy_status: the error token of RFC 9209, "" where none fits.
    """

    slug: str
    status: int
    title: str
    whose: Literal["client", "upstream", "gateway"]
    proxy_status: str = ""

    @property
    def type(self) -> str:
        return TYPE_BASE + self.slug


def _client(slug: str, status: int, title: str, token: str = "http_request_denied") -> FaultKind:
    return FaultKind(slug, status, title, "client", token)


BAD_REQUEST = _client("bad-request", 400, "Bad request", "http_request_error")
UNAUTHENTICATED = _client("unauthenticated", 401, "Authentication required")
FORBIDDEN = _client("forbidden", 403, "Forbidden")
BANNED = _client("banned", 403, "Banned for a time")
BANNED_AS_LIMITED = _client("banned", 429, "Banned for a time")
NO_ROUTE = _client("no-route", 404, "No route for this request", "destination_not_found")
METHOD_NOT_ALLOWED = _client("method-not-allowed", 405, "Method not allowed", "http_request_error")
REQUEST_TIMEOUT = _client("request-timeout", 408, "The request took too long", "http_request_error")
CONFLICT = _client("conflict", 409, "Conflict")
KEY_MISSING = _client("idempotency-key-missing", 400, "Idempotency-Key is missing", "http_request_error")
KEY_IN_USE = _client("idempotency-key-in-use", 409, "A request with this Idempotency-Key is outstanding")
KEY_REUSED = _client("idempotency-key-reused", 422, "Idempotency-Key is already used")
TOO_LARGE = _client("too-large", 413, "Content too large", "http_request_error")
TARGET_TOO_LONG = _client("target-too-long", 414, "Target too long", "http_request_error")
UNSUPPORTED_TYPE = _client("unsupported-type", 415, "Media type not supported", "http_request_error")
EXPECTATION_FAILED = _client("expectation-failed", 417, "Expectation not supported", "http_request_error")
MISDIRECTED = _client("misdirected", 421, "Misdirected request", "http_request_error")
UNPROCESSABLE = _client("unprocessable", 422, "Content not accepted")
LIMITED = _client("rate-limited", 429, "Too many requests")
QUOTA_EXCEEDED = _client("quota-exceeded", 429, "Quota exceeded")
CONCURRENCY_LIMITED = _client("concurrency-limited", 429, "Too many requests at once")
HEAD_TOO_LARGE = _client("head-too-large", 431, "Request header fields too large", "http_request_error")
NOT_IMPLEMENTED = _client("not-implemented", 501, "Not implemented", "http_request_error")
VERSION_NOT_SUPPORTED = _client("version-not-supported", 505, "HTTP version not supported", "http_request_error")

INTERNAL = FaultKind("internal", 500, "Internal error", "gateway", "proxy_internal_error")
STEP_TIMEOUT = FaultKind("step-timeout", 500, "Internal error", "gateway", "proxy_internal_error")
RESPONSE_REFUSED = FaultKind("response-refused", 502, "The response was not accepted", "gateway",
                             "proxy_internal_response")
UNAVAILABLE = FaultKind("unavailable", 503, "Service unavailable", "gateway", "destination_unavailable")
OVERLOADED = FaultKind("overloaded", 503, "Service overloaded", "gateway", "connection_limit_reached")
MAINTENANCE = FaultKind("maintenance", 503, "Down for maintenance", "gateway", "http_request_denied")

CONNECT_FAILED = FaultKind("connect-failed", 502, "The upstream could not be reached", "upstream", "connection_refused")
NAME_FAILED = FaultKind("name-failed", 502, "The upstream's name could not be resolved", "upstream", "dns_error")
TLS_FAILED = FaultKind("tls-failed", 502, "The upstream's identity could not be verified", "upstream",
                       "tls_certificate_error")
UPSTREAM_RESET = FaultKind("upstream-reset", 502, "The upstream closed the connection", "upstream",
                           "connection_terminated")
BAD_RESPONSE = FaultKind("bad-response", 502, "The upstream's response was not understood", "upstream",
                         "http_protocol_error")
INCOMPLETE_RESPONSE = FaultKind("incomplete-response", 502, "The upstream's response was cut short", "upstream",
                                "http_response_incomplete")
CONNECT_TIMEOUT = FaultKind("connect-timeout", 504, "The upstream could not be reached in time", "upstream",
                            "connection_timeout")
RESPONSE_TIMEOUT = FaultKind("response-timeout", 504, "The upstream did not answer in time", "upstream",
                             "http_response_timeout")

CLIENT_CLOSED = FaultKind("client-closed", 499, "The client went away", "client", "")

_BY_REFUSAL = {
    kind.status: kind
    for kind in (BAD_REQUEST, REQUEST_TIMEOUT, TOO_LARGE, TARGET_TOO_LONG, EXPECTATION_FAILED, MISDIRECTED,
                 HEAD_TOO_LARGE, NOT_IMPLEMENTED, VERSION_NOT_SUPPORTED, METHOD_NOT_ALLOWED)
}


def refusal_kind(status: int) -> FaultKind:
    """The kind for a request that the wire refused with this status."""
    return _BY_REFUSAL.get(status, BAD_REQUEST)


class Fault(Exception):
    """An exchange that ends without the answer it asked for; raised by a policy, or made by the machine.

    public: one sentence for the client. private: for the error log only.
    headers: lines for the answer (e.g. WWW-Authenticate, one per challenge; Retry-After).
    members: extension members of the problem (RFC 9457 3.2), values ready for JSON, no secret in them.
    step: name of the step it came from, set by the runner.
    """

    def __init__(
        self,
        kind: FaultKind,
        *,
        public: str = "",
        private: str = "",
        headers: Sequence[tuple[bytes, bytes]] = (),
        members: Mapping[str, Any] | None = None,
    ) -> None:
        super().__init__(kind.slug, public, private)
        self.kind = kind
        self.public = public
        self.private = private
        self.headers = tuple(headers)
        self.members = dict(members or {})
        self.step = ""

    @property
    def status(self) -> int:
        return self.kind.status


def let_go(error: BaseException) -> None:
    """Have an exception forget where it came from. Whoever keeps it is often held by a frame that it went through: a
    circle, which only the collector would find."""
    for name in ("__traceback__", "__cause__", "__context__"):
        BaseException.__setattr__(error, name, None)  # also of a class that is frozen
