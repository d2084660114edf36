"""What became of llhttp's cases here, beside what its own log says of them."""

from __future__ import annotations

import re
from dataclasses import dataclass

from llhttp_cases import Case, Told
from transcripts import answered, asked

from apigateway.wire.fields import PLAIN, REQUEST_FIELDS, RESPONSE_FIELDS
from apigateway.wire.message import Event, Interim, MessageEnd, Refusal, Request, Response

SAME = "read alike"
REFUSED = "refused by both"
STRICTER = "refused here only"
STATUS = "refused by both, here with a status of its own"
LENIENT = "refused here, accepted by a lenient llhttp"
LET_BE = "refused by llhttp only"
WRONG = "read differently"
_INCOMPLETE = "RFC 9112 8"

# Where a refusal itself does not say why the rule holds here.
GROUNDS = {
    "Transfer-Encoding does not end in one chunked. (RFC 9112 6.3)": "An upstream is offered no coding but chunked "
    "(RFC 9112 7.4); what it applies all the same could be neither taken off nor passed on.",
    "The method is not known. (RFC 9110 9.1)": "Upgrade is ignored for other methods than GET (RFC 9110 7.8), so that "
    "what follows the body is read as a request.",
    "The status line is not valid. (RFC 9112 4)": "Empty lines are to be ignored before requests only (RFC 9112 2.2).",
}

# Why the gateway reads on, or does not answer, where llhttp refuses.
REASONS = {
    "Data after `Connection: close`": "What follows the last message of a connection is never read (RFC 9112 9.6): the "
    "message before it is answered, or passed on, and the connection ends.",
}


@dataclass(frozen=True)
class Judgement:
    """why: for a deviation, what was said, with the section; else "". """

    case: Case
    verdict: str
    why: str = ""


def events_of(case: Case, pieces: list[bytes]) -> list[Event]:
    """What a machine of ours tells of octets that come so."""
    if case.of_request:
        return answered(pieces)
    return asked(pieces, b"HEAD" if case.skips_body else b"GET")


def judged(case: Case) -> Judgement:
    """A case that is fed whole."""
    events = events_of(case, [case.with_hosts])
    refusal = events[-1] if events and isinstance(events[-1], Refusal) else None
    error = "" if case.error.startswith("Pause on") else case.error  # its way to say that HTTP ends here
    if refusal is not None and not (refusal.section == _INCOMPLETE and not error and _cut_short(case)):
        return _of_refusal(case, refusal, error)
    if error or not case.strict:
        # The lenient ones that are read so differ from a strict llhttp in the same.
        return Judgement(case, LET_BE, REASONS.get(error or "Data after `Connection: close`", ""))
    heads = [one for one in events if isinstance(one, Request | Response)]
    told = [one for one in case.messages if one.headed and not _interim(one)]
    if not case.of_request or case.skips_body:
        heads, told = heads[:1], told[:1]  # an upstream is asked once
    alike = len(heads) == len(told) and all(map(_alike, heads, told))
    if not case.skips_body:
        alike = alike and _bodies(events) == [one.spans.get("body", b"") for one in told]
    return Judgement(case, SAME if alike else WRONG)


def _of_refusal(case: Case, refusal: Refusal, error: str) -> Judgement:
    why = f"{refusal.detail} ({refusal.section})"
    if not case.strict:
        return Judgement(case, LENIENT)
    if not error:
        return Judgement(case, STRICTER, why)
    if refusal.status != (400 if case.of_request else 502):
        return Judgement(case, STATUS, f"{refusal.status}. {why}")
    return Judgement(case, REFUSED)


def _cut_short(case: Case) -> bool:
    """The input ends inside of a message, which llhttp waits for the rest of."""
    return case.skips_body or not case.messages or not case.messages[-1].complete


def _interim(message: Told) -> bool:
    return message.spans.get("status", b"") in (b"Continue", b"Early Hints")


def _alike(head: Request | Response, told: Told) -> bool:
    table = REQUEST_FIELDS if isinstance(head, Request) else RESPONSE_FIELDS
    fields = [(name.lower(), value.strip(b" \t")) for name, value in told.fields]
    plain = [line for line in fields if table.kind(line[0]) == PLAIN]
    kept = head.headers.lines
    # Fields behind the body are told with those of the head.
    if kept != plain[: len(kept)]:
        return False
    if isinstance(head, Response):
        return head.reason == told.spans.get("status", b"")
    return (head.method, head.received) == (told.spans["method"], _origin_form(told.spans["url"]))


def _origin_form(url: bytes) -> bytes:
    target = re.sub(rb"^http://[^/?]*", b"", url)
    return target if target.startswith((b"/", b"*")) else b"/" + target


def _bodies(events: list[Event]) -> list[bytes]:
    bodies: list[bytes] = []
    for event in events:
        if isinstance(event, Request | Response):
            bodies.append(b"")
        elif isinstance(event, bytes):
            bodies[-1] += event
        else:
            assert isinstance(event, Interim | MessageEnd | Refusal)
    return bodies
