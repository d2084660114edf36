"""message-size: by announced length, and by what really came."""

from __future__ import annotations

import pytest

from apigateway.flow.faults import Fault


@pytest.mark.parametrize(
    ("settings", "length", "status"),
    [
        ({"max": "8B"}, 8, None),
        ({"max": "8B"}, 9, 413),
        ({"max": "8B"}, None, None),
        ({"max": "0B"}, 0, None),
        ({"max": "0B"}, 1, 413),
        ({"min": "1B"}, 0, 400),
        ({"min": "1B"}, 1, None),
        ({"min": "2B", "max": "2B"}, 2, None),
    ],
)
def test_by_content_length_alone(bench, exchange, settings, length, status):
    policy = bench.policy("message-size", settings)
    made = exchange(method="POST", length=length)
    if status is None:
        assert policy.on_request(made) is None
    else:
        with pytest.raises(Fault) as caught:
            policy.on_request(made)
        assert caught.value.status == status


@pytest.mark.parametrize(
    ("settings", "chunks", "refused_at", "status"),
    [
        ({"max": "8B"}, [b"1234", b"5678", b""], None, 0),
        ({"max": "8B"}, [b"1234", b"56789", b"never read"], 1, 413),
        ({"min": "3B"}, [b"1", b"2", b""], 2, 400),
        ({"min": "3B"}, [b"1", b"23"], None, 0),
    ],
)
def test_mid_stream(bench, exchange, settings, chunks, refused_at, status):
    policy = bench.policy("message-size", settings)
    made = exchange(method="POST", length=None)
    for index, chunk in enumerate(chunks):
        last = index == len(chunks) - 1
        if index == refused_at:
            with pytest.raises(Fault) as caught:
                policy.on_request_chunk(made, chunk, last)
            assert caught.value.status == status
            return
        assert policy.on_request_chunk(made, chunk, last) is chunk


def test_two_steps_of_the_kind_count_for_themselves(bench, exchange):
    wide = bench.policy("message-size", {"max": "8B"}, place="gateway/message-size")
    narrow = bench.policy("message-size", {"max": "5B"}, place="api/shop/message-size")
    made = exchange(length=None)
    for policy in (wide, narrow):
        policy.on_request_chunk(made, b"12345", False)
    assert wide.on_request_chunk(made, b"6", False) == b"6"
    with pytest.raises(Fault):
        narrow.on_request_chunk(made, b"6", False)


def test_exchanges_count_for_themselves(bench, exchange):
    policy = bench.policy("message-size", {"max": "4B"})
    for made in (exchange(length=None), exchange(length=None)):
        assert policy.on_request_chunk(made, b"1234", True) == b"1234"


def test_responses_are_answered_502(bench, exchange):
    policy = bench.policy("message-size", {"min": "2B", "max": "4B"})
    made = exchange(answer=[])
    for length in (1, 5):
        made.response.length = length
        with pytest.raises(Fault) as caught:
            policy.on_response(made)
        assert caught.value.status == 502
        assert caught.value.public == ""
    made.response.length = None
    assert policy.on_response(made) is None
    with pytest.raises(Fault) as caught:
        policy.on_response_chunk(made, b"12345", False)
    assert caught.value.status == 502


def test_answers_without_a_body_are_let_alone(bench, exchange):
    policy = bench.policy("message-size", {"min": "2B", "max": "4B"})
    made = exchange(method="HEAD", answer=[])
    made.response.length, made.response.bodiless = 1234, True
    assert policy.on_response(made) is None
    assert policy.on_response_chunk(made, b"", True) == b""


@pytest.mark.parametrize(
    ("settings", "why"),
    [({}, "give max"), ({"min": "2B", "max": "1B"}, "min is more than max"), ({"max": 64}, "needs its unit")],
)
def test_refusals(bench, settings, why):
    assert why in bench.refused("message-size", settings)
