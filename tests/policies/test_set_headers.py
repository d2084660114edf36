"""set-headers: what becomes of fields, in either direction."""

from __future__ import annotations

import pytest

from apigateway.flow.faults import Fault


@pytest.mark.parametrize(
    ("settings", "before", "after"),
    [
        ({"set": {"X-Tier": "gold"}}, [("X-Tier", "a"), ("X-Tier", "b")], [(b"x-tier", b"gold")]),
        (
            {"append": {"X-Tag": ["b", "c"]}},
            [("X-Tag", "a")],
            [(b"x-tag", b"a"), (b"x-tag", b"b"), (b"x-tag", b"c")],
        ),
        ({"remove": ["X-Gone"]}, [("X-Gone", "1"), ("X-Kept", "2"), ("X-Gone", "3")], [(b"x-kept", b"2")]),
        ({"set": {"X-Who": "{client.ip}"}}, [], [(b"x-who", b"203.0.113.9")]),
        ({"set": {"X-None": '{request.headers["x-absent"]}'}}, [("X-None", "lie")], [(b"x-none", b"")]),
        ({"set": {"X-Brace": "{{literal}}"}}, [], [(b"x-brace", b"{literal}")]),
        ({"set": {"X-Text": "Grüße"}}, [], [(b"x-text", "Grüße".encode())]),
        ({"set": {"X-At": "{time.now}"}}, [], [(b"x-at", b"2023-11-14T22:13:20Z")]),
    ],
)
def test_edits_the_request(bench, exchange, settings, before, after):
    made = exchange(headers=before)
    assert bench.policy("set-headers", settings).on_request(made) is None
    assert made.request.headers.lines == after


TWINS = [("X_Client", "lie"), ("x-client_Id", "lie"), ("X_Client_Id", "lie"), ("X-Clients", "1")]


@pytest.mark.parametrize(
    ("settings", "after"),
    [
        (
            {"set": {"X-Client": "me", "X-Client-Id": "7"}},
            [(b"x-clients", b"1"), (b"x-client", b"me"), (b"x-client-id", b"7")],
        ),
        ({"remove": ["X-Client", "X-Client-Id"]}, [(b"x-clients", b"1")]),
        ({"remove": ["X_Client", "X_Client-Id"]}, [(b"x-clients", b"1")]),
    ],
)
def test_nobody_brings_a_field_by_another_spelling(bench, exchange, settings, after):
    made = exchange(headers=[("X-Client", "lie"), *TWINS])
    bench.policy("set-headers", settings).on_request(made)
    assert made.request.headers.lines == after


def test_nobody_brings_a_field_behind_the_body(bench, exchange):
    made = exchange(method="POST", length=None)
    settings = {"set": {"X-Client": "me"}, "remove": ["X_Gone"], "append": {"X-Tag": "a"}}
    bench.policy("set-headers", settings).on_request(made)
    assert made.request.withheld == {b"x-client", b"x-gone"}


def test_of_a_response_only_the_field_that_is_named_goes(bench, exchange):
    made = exchange(answer=[("X-Client", "1"), ("X_Client", "2")])
    bench.policy("set-headers", {"remove": ["X-Client"]}).on_response(made)
    assert made.response.headers.lines == [(b"x_client", b"2")]


def test_octets_of_a_field_come_back_as_they_were(bench, exchange):
    made = exchange()
    made.request.headers.lines.append((b"x-in", b"\xff\xe9"))
    bench.policy("set-headers", {"set": {"X-Out": '{request.headers["x-in"]}'}}).on_request(made)
    assert made.request.headers.get(b"x-out") == b"\xff\xe9"


def test_set_cookie_lines_stay_apart(bench, exchange):
    made = exchange(answer=[("Set-Cookie", "sid=1"), ("Set-Cookie", "theme=dark"), ("Set-Cookie", "lang=en")])
    bench.policy("set-headers", {"append": {"Set-Cookie": "gw=1"}}).on_response(made)
    cookies = made.response.headers.get_all(b"set-cookie")
    assert cookies == [b"sid=1", b"theme=dark", b"lang=en", b"gw=1"]


def test_the_response_can_be_named_on_its_side(bench, exchange):
    made = exchange(answer=[("X-Db", "db7")], status=404)
    settings = {"set": {"X-Was": '{response.status}-{response.headers["x-db"]}'}}
    bench.policy("set-headers", settings).on_response(made)
    assert made.response.headers.get(b"x-was") == b"404-db7"


def test_a_value_never_splits_a_field(bench, exchange):
    policy = bench.policy("set-headers", {"set": {"X-Name": '{request.query["n"]}'}})
    made = exchange("/?n=a%0d%0aX-Admin:%201")
    with pytest.raises(Fault) as caught:
        policy.on_request(made)
    assert caught.value.status == 400
    assert made.request.headers.lines == []


@pytest.mark.parametrize(
    ("settings", "why"),
    [
        ({}, "nothing to do"),
        ({"set": {"Host": "evil"}}, "written by the gateway"),
        ({"remove": ["Content-Length"]}, "written by the gateway"),
        ({"append": {"transfer-encoding": "chunked"}}, "written by the gateway"),
        ({"set": {"Connection": "close"}}, "written by the gateway"),
        ({"set": {"X Bad": "1"}}, "not a lower-case field name"),
        ({"set": {"X-Bad": "a\r\nb: c"}}, "control character"),
        ({"set": {"X-Bad": "{client.ipp}"}}, "did you mean 'ip'"),
        ({"set": {"X-Bad": "{client.ip"}}, "never closed"),
        ({"set": {"X-Bad": "{string(request.json.a)}"}}, "body of the request cannot be named"),
        ({"sett": {"X-A": "1"}}, "did you mean 'set'"),
    ],
)
def test_what_cannot_be_done_is_refused(bench, settings, why):
    assert why in bench.refused("set-headers", settings)
