"""Who serves what, by the order in which things happen: no processes here."""

from __future__ import annotations

from agreed import FakeWorker, Stage
from hypothesis import given, settings
from hypothesis import strategies as st

from apigateway.supervisor import messages
from apigateway.supervisor.agreeing import NOBODY, PREPARE_WITHIN


def served(stage: Stage) -> list[int]:
    return [worker.part.serves for worker in stage.workers]


def one_is_behind() -> tuple[Stage, FakeWorker]:
    """Two workers, one of which was silent while a revision was taken, and is there again; and that one."""
    stage = Stage(2)
    late = stage.workers[1]
    stage.fall_silent(late)
    stage.take()
    stage.settle()
    stage.alive(late)
    return stage, late


def test_all_take_it() -> None:
    stage = Stage(3)
    result = stage.take()
    stage.settle()
    assert (result, served(stage), stage.agreement.running.number) == ([[]], [2, 2, 2], 2)
    assert stage.timers.calls == []


def test_it_is_over_when_all_that_are_there_serve_it() -> None:
    stage = Stage(3)
    first, second, third = stage.workers
    result = stage.take()
    for worker in stage.workers:
        worker.read()
        worker.built()
        stage.hear(worker)
    first.read()
    stage.hear(first)
    assert (result, stage.agreement.running.number) == ([], 2)  # decided, but two of them may serve the old one still
    stage.fall_silent(second)
    assert result == []
    stage.die(third)
    assert result == [[]]
    stage.take()
    stage.settle()
    stage.alive(second)
    stage.settle()
    assert served(stage) == [3, 3, 3]


def test_what_one_refuses_none_takes_and_it_is_told_once() -> None:
    stage = Stage(3)
    result = stage.take()
    for worker in stage.workers:
        worker.read()
    stage.workers[0].built()
    for worker in stage.workers[1:]:
        worker.built("no")
    stage.settle()
    assert (result, served(stage)) == ([["/: no"]], [1, 1, 1])
    assert sum(worker.open for worker in stage.workers) == 0 and stage.timers.calls == []
    assert not any(worker.told_to_leave for worker in stage.workers)


def test_nobody_there_is_told_at_once() -> None:
    stage = Stage(1)
    stage.fall_silent(stage.workers[0])
    assert stage.take() == [[NOBODY]]


def test_who_is_slower_than_allowed_lives_and_the_next_one_is_taken() -> None:
    stage = Stage(2)
    result = stage.take()
    for worker in stage.workers:
        assert worker.read()
    stage.workers[0].built()
    stage.hear(stage.workers[0])
    stage.timers.pass_by(PREPARE_WITHIN + 1)
    assert result == [["/: not provisioned within 30 s (workers: 1)"]]
    stage.settle()
    assert served(stage) == [1, 1] and [worker.open for worker in stage.workers] == [0, 0]
    assert not any(worker.told_to_leave for worker in stage.workers)
    result = stage.take()
    stage.settle()
    assert (result, served(stage)) == ([[]], [3, 3])


def test_nobody_in_time_is_told_of_all() -> None:
    stage = Stage(2)
    result = stage.take()
    stage.timers.pass_by(PREPARE_WITHIN + 1)
    assert result == [["/: not provisioned within 30 s (workers: 0, 1)"]]


def test_who_comes_during_a_take_waits_for_what_is_decided() -> None:
    stage = Stage(2)
    late = stage.workers[1]
    stage.fall_silent(late)
    stage.take()
    stage.settle()
    assert served(stage) == [2, 1]
    stage.take()
    stage.alive(late)  # behind, and there while another one is tried
    assert not late.inbox
    stage.settle()
    assert served(stage) == [3, 3]
    assert not late.told_to_leave


def test_a_take_overtakes_who_is_being_caught_up() -> None:
    stage, late = one_is_behind()
    assert late.read()  # it builds the second
    result = stage.take()
    late.built()  # which it says before it has read of the third
    stage.hear(late)
    first = stage.workers[0]
    first.read()
    first.built()
    stage.hear(first)
    assert result == []  # what it said was of the second
    stage.settle()
    assert (result, served(stage), late.open) == ([[]], [3, 3], 0)


def test_who_was_told_to_commit_is_not_asked_again_before_it_says_so() -> None:
    stage = Stage(1)
    worker = stage.workers[0]
    stage.take()
    worker.read()
    worker.built()
    stage.hear(worker)
    stage.alive(worker)  # with what it served before: the Commit is still on its way
    assert list(worker.inbox) == [messages.Commit(1)]
    stage.settle()
    assert served(stage) == [2]


def test_who_leaves_has_no_vote() -> None:
    stage = Stage(2)
    leaving = stage.workers[1]
    result = stage.take()
    leaving.ready = False
    stage.agreement.away(leaving)
    leaving.read()
    leaving.built("the worker is ending")
    stage.settle()
    assert (result, leaving.told_to_leave, stage.events.events) == ([[]], False, [])


def test_who_leaves_while_it_is_caught_up_is_left_alone() -> None:
    stage, late = one_is_behind()
    late.read()
    late.ready = False
    stage.agreement.away(late)
    late.built("the worker is ending")
    stage.settle()
    assert not late.told_to_leave and stage.events.events == []


def test_who_refuses_what_the_others_serve_is_replaced() -> None:
    stage, late = one_is_behind()
    stage.settle("not here")
    assert late.told_to_leave
    assert [entry[1] for entry in stage.events.events] == [
        "worker refuses what the others serve, and is begun anew"
    ]


def test_who_is_late_to_be_caught_up_is_tried_again() -> None:
    stage, late = one_is_behind()
    late.read()
    stage.timers.pass_by(PREPARE_WITHIN + 1)
    stage.alive(late)
    stage.settle()
    assert served(stage) == [2, 2] and not late.told_to_leave and late.open == 0


def test_what_a_silent_one_prepared_is_let_go_of() -> None:
    stage = Stage(2)
    silent = stage.workers[1]
    stage.take()
    stage.fall_silent(silent)
    stage.settle("no")  # it reads, once it goes on
    assert served(stage) == [1, 1] and silent.open == 0


def test_a_commit_that_finds_nothing_is_answered() -> None:
    worker = FakeWorker(0, 7)
    worker.send(messages.Commit(5))
    worker.read()
    assert list(worker.outbox) == [messages.Committed(5, 7, "")]


def test_what_went_wrong_otherwise_is_told_too() -> None:
    worker = FakeWorker(0, 1)
    worker.send(messages.Prepare(1, 2))
    worker.read()
    worker.building.pop().errback(KeyError("x"))
    assert list(worker.outbox) == [messages.Refused(1, ["/: KeyError: 'x'"])]
    assert len(worker.failures) == 1


# ---- any order

EVENTS = (
    "take", "read", "hear", "built", "refuse", "alive", "silent", "leave", "die", "later", "much later",
)


@settings(max_examples=300, deadline=None)
@given(
    workers=st.integers(1, 3),
    stubborn=st.booleans(),
    events=st.lists(st.tuples(st.sampled_from(EVENTS), st.integers(0, 2)), max_size=60),
)
def test_all_end_at_one_revision_and_nobody_healthy_is_ended(
    workers: int, stubborn: bool, events: list[tuple[str, int]]
) -> None:
    """What is refused is refused while it is tried; what is served once can be prepared by whoever comes later."""
    stage = Stage(workers, stubborn=stubborn)
    results: list[list[list[str]]] = []
    for event, which in events:
        worker = stage.workers[which % workers]
        match event:
            case "take":
                if all(results):
                    results.append(stage.take())
            case "read" if not worker.silent:
                worker.read()
            case "hear":
                stage.hear(worker)
            case "built" if worker.building:
                worker.built()
            case "refuse" if worker.building and results and not results[-1]:
                worker.built("no")
            case "alive" if worker.ready:
                stage.alive(worker)
            case "silent" if worker.ready:
                stage.fall_silent(worker)
            case "leave":
                worker.ready = False
                stage.agreement.away(worker)
            case "die":
                stage.die(worker)
            case "later":
                stage.timers.pass_by(1.0)
            case "much later":
                stage.timers.pass_by(PREPARE_WITHIN + 1)
        assert not any(each.told_to_leave for each in stage.workers)
    finish(stage)
    assert all(results)
    assert set(served(stage)) == {stage.agreement.running.number}
    assert [worker.open for worker in stage.workers] == [0] * workers
    assert stage.timers.calls == []


def finish(stage: Stage) -> None:
    """Everybody who left is followed by another one, and everybody says again and again that he is there."""
    for _ in range(4):
        for worker in list(stage.workers):
            if not worker.ready:
                stage.die(worker)
        stage.settle()
        for worker in stage.workers:
            stage.alive(worker)
    stage.settle()
