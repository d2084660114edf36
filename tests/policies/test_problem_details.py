"""problem-details: what is said of a fault, and in which form."""

from __future__ import annotations

import json

import pytest

from apigateway.flow.faults import FORBIDDEN, LIMITED, Fault


def answer(bench, exchange, settings, fault, **request):
    made = exchange(answer=[("Retry-After", "7"), ("Content-Type", "old")], **request)
    made.response.status, made.fault = fault.status, fault
    return bench.policy("problem-details", settings).on_fault(made, fault)


def fault(kind=FORBIDDEN):
    return Fault(
        kind, public="Not here.", private="db password wrong", members={"violated-policies": ["hour"]}
    )


@pytest.mark.parametrize(
    ("settings", "members"),
    [
        ({}, {"title": "Forbidden", "status": 403, "detail": "Not here.", "violated-policies": ["hour"]}),
        ({"hide_detail": True}, {"title": "Forbidden", "status": 403}),
        (
            {"fields": {"help": "mail {client.ip}"}, "hide_detail": True},
            {"title": "Forbidden", "status": 403, "help": "mail 203.0.113.9"},
        ),
        (
            {
                "templates": {
                    "forbidden": {
                        "title": "No",
                        "detail": "Not {request.path}.",
                        "status": 404,
                        "type": "https://docs.test/no",
                    }
                }
            },
            {
                "type": "https://docs.test/no",
                "title": "No",
                "status": 404,
                "detail": "Not /a.",
                "violated-policies": ["hour"],
            },
        ),
        (
            {"templates": {"no-route": {"title": "Nowhere"}}},
            {"title": "Forbidden", "status": 403, "detail": "Not here.", "violated-policies": ["hour"]},
        ),
    ],
)
def test_members(bench, exchange, settings, members):
    reply = answer(bench, exchange, settings, fault(), target="/a")
    expected = {"type": FORBIDDEN.type, "instance": "urn:exchange:e1", **members}
    assert json.loads(reply.body) == expected
    assert reply.status == members["status"]


def test_header_fields_stay_and_the_private_text_stays_out(bench, exchange):
    reply = answer(bench, exchange, {}, fault(LIMITED))
    assert reply.headers.lines == [(b"retry-after", b"7"), (b"content-type", b"application/problem+json")]
    assert b"password" not in reply.body


@pytest.mark.parametrize(
    ("headers", "content_type", "within"),
    [
        ([("Accept", "application/xml")], b"application/problem+xml", b"<status>404</status>"),
        ([("Content-Type", "application/soap+xml")], b"application/soap+xml; charset=utf-8", b"soap:Sender"),
    ],
)
def test_other_forms(bench, exchange, headers, content_type, within):
    reply = answer(bench, exchange, {"templates": {"forbidden": {"status": 404}}}, fault(), headers=headers)
    assert reply.headers.get(b"content-type") == content_type
    assert within in reply.body


@pytest.mark.parametrize(
    ("settings", "why"),
    [
        ({"fields": {"status": "1"}}, "every problem has"),
        ({"fields": {"a b": "1"}}, "no name of a member"),
        ({"fields": {"a": "{nobody.x}"}}, "nobody"),
        ({"templates": {"forbidden": {"status": 200}}}, "at least 400"),
        ({"templates": {"forbidden": {"titel": "x"}}}, "/with/templates/forbidden/titel"),
    ],
)
def test_refusals(bench, settings, why):
    assert why in bench.refused("problem-details", settings)
