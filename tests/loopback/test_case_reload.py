"""RC-O35, the worker's part: a configuration is taken whole, or not at all, and no request notices."""

from __future__ import annotations

import os
import signal
from typing import Any

import pytest
from pytest_twisted import ensureDeferred
from toolkit.gateway import MANAGEMENT_HASH, MANAGEMENT_TOKEN
from toolkit.message import Answer
from toolkit.origin import Asked, Origin
from toolkit.settings import Settings, api, route, simple, step, steps, upstream
from toolkit.stage import Stage
from toolkit.waiting import reactor, together, turn, until

from apigateway.errors import ConfigurationRefused


def three(origin: Origin, mark: str) -> Settings:
    """APIs a, b and c, which say in a field of the request and of the answer which revision they are of."""
    marked = steps(
        step("set-headers", set={"X-In": mark}), response=(step("set-headers", set={"X-Out": mark}),)
    )
    return simple(
        origin,
        *(
            api(route(name="all", to="up"), name=name, base_path=f"/{name}", pre_flow=marked)
            for name in "abc"
        ),
    )


def broken(settings: Settings) -> Settings:
    """The same, but c has a regular expression that is none."""
    bad = steps(step("rewrite-path", regex="([", to="/x"))
    return {**settings, "apis": [*settings["apis"][:2], {**settings["apis"][2], "post_flow": bad}]}


async def ask_all(stage: Stage) -> list[Answer]:
    client = await stage.client()
    answers = [await client.ask("GET", f"/{name}") for name in "abc"]
    client.close()
    return answers


@ensureDeferred
async def test_rc_o35_1_3_a_broken_configuration_leaves_the_running_one_whole(stage: Stage) -> None:
    origin = await stage.origin()
    gateway = await stage.serve(three(origin, "v1"))
    digest = gateway.worker.status()["revision"]
    whole = gateway.file.read_text()

    async def refused(text: str) -> list[str]:
        gateway.file.write_text(text)
        result = await gateway.reload()
        assert (result["taken"], result["digest"]) == (False, digest)
        assert [answer.get("x-out") for answer in await ask_all(stage)] == ["v1"] * 3
        assert {asked.get("x-in") for asked in origin.asked} == {"v1"}
        problems: list[str] = result["problems"]
        return problems

    # (1) cut anywhere; the end of the file, the middle of a word, the middle of a list
    for share in (0.3, 0.5, 0.9):
        assert await refused(whole[: int(len(whole) * share)])
    assert await refused('{"version": 1, "apis": [')
    # (3) a and b are fine, c has a regex that is none
    gateway.write(broken(three(origin, "v2")))
    problems = await refused(gateway.file.read_text())
    assert any("/apis/2/post_flow/request/0/with" in problem for problem in problems)
    # the file is gone, or no file
    gateway.file.unlink()
    assert not (await gateway.reload())["taken"]
    assert (await ask_all(stage))[0].get("x-out") == "v1"
    # It is reported: in status, in the log, in the metrics.
    status = gateway.worker.status()
    assert status["revision"] == digest and not status["last_reload"]["taken"]
    await gateway.event("configuration refused, the running revision stays")


@pytest.mark.parametrize("text", ["", "\n", "{}", "[]", "null", "version: 1\n", "# nothing\n"])
@ensureDeferred
async def test_rc_o35_2_an_empty_configuration_is_an_error_not_the_end_of_all_apis(
    stage: Stage, text: str
) -> None:
    origin = await stage.origin()
    gateway = await stage.serve(three(origin, "v1"))
    gateway.file.write_text(text)
    assert not (await gateway.reload())["taken"]
    assert [answer.status for answer in await ask_all(stage)] == [200] * 3


@ensureDeferred
async def test_rc_o35_1_a_file_cut_between_its_parts_does_not_take_the_apis_away(stage: Stage) -> None:
    origin = await stage.origin()
    gateway = await stage.serve(three(origin, "v1"))
    whole = gateway.file.read_text()
    for end in [place for place in range(len(whole)) if whole.startswith("\n", place)]:
        if end < whole.index("apis:"):
            gateway.file.write_text(whole[: end + 1])
            assert not (await gateway.reload())["taken"], whole[:end]
    assert [answer.status for answer in await ask_all(stage)] == [200] * 3


@ensureDeferred
async def test_rc_o35_2_an_empty_list_of_apis_that_is_meant_is_taken(stage: Stage) -> None:
    origin = await stage.origin()
    gateway = await stage.serve(three(origin, "v1"))
    gateway.write({"upstreams": [], "apis": []})
    assert (await gateway.reload())["taken"]
    assert [answer.status for answer in await ask_all(stage)] == [404] * 3


class Load:
    """About 200 requests a second over four connections, until told to end."""

    def __init__(self, stage: Stage) -> None:
        self.stage = stage
        self.answers: list[Answer] = []
        self.over = False

    async def run(self, number: int) -> None:
        client = await self.stage.client()
        while not self.over:
            self.answers.append(await client.ask("GET", f"/{'abc'[number % 3]}"))
            await turn(0.015)
        client.close()

    def start(self) -> Any:
        return together(*(self.run(number) for number in range(4)))

    async def end(self, running: Any) -> None:
        self.over = True
        await running


@ensureDeferred
async def test_rc_o35_5_a_reload_under_load_fails_no_request_and_mixes_nothing(stage: Stage) -> None:
    async def tell(asked: Asked) -> None:
        await turn(0.01)
        asked.answer(200, (asked.get("x-in") or "").encode())

    origin = await stage.origin(tell)
    gateway = await stage.serve(three(origin, "v0"))
    load = Load(stage)
    running = load.start()
    for version in range(1, 6):
        gateway.write(three(origin, f"v{version}"))
        before = len(load.answers)
        assert (await gateway.reload())["taken"]
        await until(lambda before=before: len(load.answers) > before + 20)  # type: ignore[misc]
    await load.end(running)
    assert {answer.status for answer in load.answers} == {200}
    # Each request saw one revision: in its request steps and in its response steps.
    assert all(answer.get("x-out") == answer.body.decode() for answer in load.answers)
    assert {answer.body for answer in load.answers} == {b"v%d" % version for version in range(6)}
    assert gateway.worker.status()["revisions_in_use"] == 1


@ensureDeferred
async def test_rc_o35_5_a_request_that_runs_over_a_reload_ends_with_the_revision_it_began_with(
    stage: Stage,
) -> None:
    async def wait_for_go(asked: Asked) -> None:
        await until(lambda: go)
        asked.answer(200, b"ok")

    go: list[int] = []
    origin = await stage.origin(wait_for_go)
    gateway = await stage.serve(three(origin, "v1"))
    client = await stage.client()
    client.send(b"GET /a HTTP/1.1\r\nHost: gw.test\r\n\r\n")
    await until(lambda: origin.asked)
    gateway.write(three(origin, "v2"))
    assert (await gateway.reload())["taken"]
    assert gateway.worker.status()["revisions_in_use"] == 2
    go.append(1)
    assert (await client.answer()).get("x-out") == "v1"
    assert gateway.worker.status()["revisions_in_use"] == 1
    assert (await client.ask("GET", "/a")).get("x-out") == "v2"


# ---- the ways to ask for it


def to(origin: Origin, other: Origin, name: str, **more: Any) -> Settings:
    """Everything to one of two upstreams."""
    return {
        "upstreams": [upstream(origin, name="one"), upstream(other, name="two")],
        "apis": [api(route(to=name))],
        **more,
    }


@ensureDeferred
async def test_an_edit_and_sighup_change_the_routing_without_a_failed_request(stage: Stage) -> None:
    one, two = await stage.origin(), await stage.origin()
    gateway = await stage.serve(to(one, two, "one"))
    load = Load(stage)
    running = load.start()
    await until(lambda: len(one.asked) > 10)
    (stage.folder / "access.log").rename(stage.folder / "access.log.1")
    gateway.write(to(one, two, "two"))
    os.kill(os.getpid(), signal.SIGHUP)
    await until(lambda: len(two.asked) > 10)
    await load.end(running)
    assert {answer.status for answer in load.answers} == {200}
    # It opens the logs again, too.
    await gateway.line(lambda line: line["upstream"] == "two")


@ensureDeferred
async def test_a_watched_file_is_taken_when_it_changes(stage: Stage) -> None:
    one, two = await stage.origin(), await stage.origin()
    gateway = await stage.serve(to(one, two, "one", watch=True))
    gateway.write(to(one, two, "two", watch=True))
    await until(lambda: gateway.worker.driver.revision.plans[0].upstream.name == "two")
    assert (await stage.ask("GET", "/")).status == 200
    assert (len(one.asked), len(two.asked)) == (0, 1)


@ensureDeferred
async def test_the_management_call_reloads_and_says_what_is_wrong(stage: Stage) -> None:
    one, two = await stage.origin(), await stage.origin()
    managed = {
        "management": {"address": "127.0.0.1:0", "tokens": [{"name": "ops", "sha256": MANAGEMENT_HASH}]}
    }
    gateway = await stage.serve(to(one, two, "one", **managed))

    async def call(*lines: str) -> Answer:
        return await stage.ask("POST", "/v1/worker/reload", *lines, place=gateway.management, body=b"")

    assert (await call()).status == 401
    token = f"Authorization: Bearer {MANAGEMENT_TOKEN}"
    gateway.write(to(one, two, "two", **managed))
    answer = await call(token)
    assert (answer.status, answer.json["taken"]) == (200, True)
    assert (await stage.ask("GET", "/")).status == 200
    assert len(two.asked) == 1
    gateway.write(to(one, two, "twoo", **managed))
    answer = await call(token)
    assert answer.status == 422
    assert any("'two'" in problem for problem in answer.json["problems"])


@ensureDeferred
async def test_what_needs_a_restart_refuses_the_reload_whole(stage: Stage) -> None:
    one, two = await stage.origin(), await stage.origin()
    gateway = await stage.serve(to(one, two, "one"))
    gateway.write(to(one, two, "two", environment="other"))
    result = await gateway.reload()
    assert not result["taken"] and any("/environment" in problem for problem in result["problems"])
    assert (await stage.ask("GET", "/")).status == 200
    assert len(one.asked) == 1


# ---- the last good revision


@ensureDeferred
async def test_the_last_good_revision_is_kept_and_serves_when_the_file_is_broken(stage: Stage) -> None:
    origin = await stage.origin()
    gateway = await stage.serve({**three(origin, "v1"), "data_dir": "state"})
    kept = stage.folder / "state" / "last-good.json"
    await until(kept.exists)
    gateway.write({**three(origin, "v2"), "data_dir": "state"})
    await gateway.reload()
    await until(lambda: "v2" in kept.read_text())
    gateway.write({**broken(three(origin, "v3")), "data_dir": "state"})
    await gateway.reload()
    await gateway.stop()
    assert "v3" not in kept.read_text()

    with pytest.raises(ConfigurationRefused):
        await gateway.start()
    await gateway.start(last_good=True)
    assert [answer.get("x-out") for answer in await ask_all(stage)] == ["v2"] * 3


@ensureDeferred
async def test_without_a_last_good_revision_a_broken_file_stays_an_error(stage: Stage) -> None:
    origin = await stage.origin()
    stage.gateway.write({**broken(three(origin, "v1")), "data_dir": "state"})
    with pytest.raises(ConfigurationRefused):
        await stage.gateway.start(last_good=True)
    assert reactor.running
