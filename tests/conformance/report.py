"""docs/conformance.md: the figures of a run, and every deviation with its reason."""

from __future__ import annotations

from itertools import groupby

from llhttp_judging import GROUNDS, LENIENT, LET_BE, REFUSED, SAME, STATUS, STRICTER, Judgement
from probe_cases import FAIL, PASS, WARN, WRITTEN
from probe_judging import Verdict
from testdata import ROOT

PAGE = ROOT / "docs" / "conformance.md"
SUITES = ("Smuggling", "Normalization", "Compliance", "MalformedInput", "Cookie", "Capabilities")

_TOP = """# Conformance

How the gateway reads HTTP/1 was tried with two public collections of cases. This page is written by the tests, which
fail where it no longer tells what they find: `pytest tests/conformance --write-conformance` writes it anew. The cases
are not part of the source; `APIGATEWAY_TESTDATA` names the folder that holds them.

What is said of requests holds for responses of upstreams, too: a response that breaks a rule gives 502, or is cut off
where its head has been passed on, and its connection is not used again.
"""

_PROBE = """
## Http11Probe

{count} cases of [Http11Probe](https://github.com/MDA2AV/Http11Probe), sent over sockets to a running gateway with an
origin behind it. Of what was refused, nothing reached the origin whole; and no request that followed on the same
connection was answered as anything but itself. {written} cases are only described in the data, or lost octets in it;
they were written after their description.

| suite | cases | pass | warn | fail |
|---|---|---|---|---|
{table}

A warning is an answer that the case allows, but would like less than another. Each, and each answer that the verdict
fields of the data do not know, has its reason:

| case | level | answer | why |
|---|---|---|---|
{notes}
"""

_LLHTTP = """
## llhttp's own cases

{count} cases of [llhttp](https://github.com/nodejs/llhttp), with what its log says of each: {requests} of requests,
{responses} of responses. Each gives the same events as one piece, octet by octet, cut in two at every place, and cut at
random. Over sockets, requests are sent to the gateway and responses come from its origin.

| | cases |
|---|---|
{table}

What llhttp refuses without leniency is refused with 400 and close (of an upstream: 502), but for these:

| case | here | why |
|---|---|---|
{deviations}

And what is refused here only, with the rule:

| rule | cases |
|---|---|
{stricter}
"""


def page(verdicts: list[Verdict], judgements: list[Judgement]) -> str:
    """The whole page."""
    return _TOP + _of_probe(verdicts) + _of_llhttp(judgements)


def _rows(rows: list[tuple[object, ...]]) -> str:
    return "\n".join("| " + " | ".join(str(cell).replace("|", "\\|") for cell in row) + " |" for row in rows)


def _of_probe(verdicts: list[Verdict]) -> str:
    rows: list[tuple[object, ...]] = []
    for suite in SUITES:
        words = [one.word for one in verdicts if one.probed.case.suite == suite]
        rows.append((suite, len(words), *(words.count(word) for word in (PASS, WARN, FAIL))))
    notes = [
        (f"`{one.id}`", one.probed.case.level, ", ".join(str(answer.status) for answer in one.probed.answers), one.note)
        for one in verdicts
        if one.note
    ]
    written = sum(one.id in WRITTEN for one in verdicts)
    return _PROBE.format(count=len(verdicts), written=written, table=_rows(rows), notes=_rows([*notes]))


def _of_llhttp(judgements: list[Judgement]) -> str:
    verdicts = [one.verdict for one in judgements]
    table = [(word, verdicts.count(word)) for word in (SAME, REFUSED, LENIENT, STATUS, LET_BE, STRICTER)]
    here = {STATUS: "refused", LET_BE: "left unread"}
    deviations = [
        (one.case.name, here[one.verdict], one.why) for one in judgements if one.verdict in here and one.case.strict
    ]
    of_requests = sum(one.case.of_request for one in judgements)
    return _LLHTTP.format(
        count=len(judgements), requests=of_requests, responses=len(judgements) - of_requests, table=_rows([*table]),
        deviations=_rows([*deviations]), stricter=_rows([*_stricter(judgements)]),
    )


def _stricter(judgements: list[Judgement]) -> list[tuple[object, ...]]:
    cases = sorted((one.why, one.case.name) for one in judgements if one.verdict == STRICTER)
    groups = groupby(cases, lambda pair: pair[0])
    return [(f"{why} {GROUNDS.get(why, '')}".strip(), "; ".join(name for _, name in group)) for why, group in groups]
