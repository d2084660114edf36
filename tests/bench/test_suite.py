"""The suite without load: command lines, jobs that fail, what is written."""

from __future__ import annotations

import io
import json
from collections.abc import Iterator
from pathlib import Path

import pytest

from apigateway.config.load import load_text
from bench import __main__ as program
from bench import plain, soak, suite
from bench.figures import Sample
from bench.loading import BadAnswers
from bench.means import Entry, Job, Means, in_turn
from bench.peers.gateway import configuration
from bench.place import Place, filled
from bench.progress import Progress, bar
from bench.proxies import PROXIES, Running
from bench.scenario import Scenario


def job(name: str, *samples: Sample, fails: Exception | None = None) -> Job:
    """A job that measures nothing: these samples, and then perhaps a failure."""

    def run(job: Job, means: Means) -> Iterator[Sample]:
        yield from samples
        if fails is not None:
            raise fails

    return Job(name, "a job of a test", "cpu_us", (Entry("gateway"), Entry("nginx")), run, wrk=False)


GATEWAY, NGINX = (Sample("plain", name, {"cpu_us": cost}) for name, cost in (("gateway", 40.0), ("nginx", 20.0)))


def test_a_job_that_fails_stops_no_other(capsys: pytest.CaptureFixture[str]) -> None:
    means = Means(1, 1.0)
    found = suite.run([job("tls", fails=OSError("no port")), job("plain", GATEWAY, NGINX)], means)
    assert means.broken == {"tls": "OSError: no port"}
    assert found.rows["plain"] == {"gateway": {"cpu_us": 40.0}, "nginx": {"cpu_us": 20.0}}
    assert "tls FAILED: OSError: no port" in capsys.readouterr().out


def test_what_a_job_measured_before_it_failed_is_shown(capsys: pytest.CaptureFixture[str]) -> None:
    found = suite.run([job("plain", GATEWAY, fails=OSError("no port"))], Means(1, 1.0))
    assert found.rows["plain"] == {"gateway": {"cpu_us": 40.0}}
    assert "| gateway |" in capsys.readouterr().out


def test_budgets_are_printed_with_their_verdict(capsys: pytest.CaptureFixture[str]) -> None:
    suite.run([job("plain", GATEWAY, NGINX)], Means(1, 1.0))
    line = next(line for line in capsys.readouterr().out.splitlines() if line.startswith("| plain, by nginx"))
    assert [cell.strip() for cell in line.split("|")[2:-1]] == ["2.00", "1.8", "1.11", "**missed**"]


def test_a_job_that_needs_wrk_is_left_out_without_it(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setenv("PATH", "")
    means = Means(1, 1.0)
    found = suite.run([suite.TLS_JOB], means)
    assert list(means.missing) == ["tls"] and not found.rows
    assert "tls was left out: it needs wrk" in capsys.readouterr().out


def test_peers_that_are_not_there_are_named(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setenv("PATH", "")
    monkeypatch.setenv("EXPRESS_GATEWAY", str(tmp_path))
    said = PROXIES["express"].command(Place("express", 1, (2, 3), tmp_path))
    assert isinstance(said, str) and "npm install express-gateway" in said


def test_every_budget_is_of_a_job_and_of_proxies_that_take_part() -> None:
    for budget in suite.BUDGETS:
        names = {entry.proxy for entry in suite.JOBS[budget.job].entries}
        assert {label.partition(", ")[0] for label in (budget.label, budget.by) if label} <= names, budget.text


def test_what_is_written_can_be_read(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    means = Means(1, 1.0, missing={"caddy": "caddy is not installed"})
    suite.write(suite.run([job("plain", GATEWAY, NGINX)], means), tmp_path, "today")
    record = json.loads((tmp_path / "today.json").read_text())
    assert record["figures"]["plain"]["gateway"] == {"cpu_us": 40.0}
    assert [(each["text"], each["met"]) for each in record["budgets"]] == [("plain, by nginx (a goal)", False)]
    assert record["machine"]["processors"] >= 1 and record["missing"] == means.missing
    page = (tmp_path / "today.md").read_text()
    assert page.startswith("# Benchmark of today\n") and "](today.svg)" in page
    assert "- caddy was left out: caddy is not installed" in page
    assert (tmp_path / "today.svg").read_text().startswith("<svg ")


# ---- command lines


def test_jobs_rounds_and_seconds_are_chosen() -> None:
    chosen = program.parse(["--jobs", "plain,tls", "--rounds", "3", "--seconds", "2"])
    assert (chosen.jobs, chosen.rounds, chosen.seconds) == (["plain", "tls"], 3, 2.0)
    assert chosen.out is None  # a part of it is no record


def test_all_of_it_is_a_record() -> None:
    chosen = program.parse([])
    assert chosen.jobs == list(suite.JOBS) and chosen.only == list(PROXIES)
    assert chosen.out is not None and chosen.out.parts[-2:] == ("docs", "benchmarks")


def test_the_plain_benchmark_takes_what_it_took() -> None:
    chosen = plain.parse(["--rounds", "9", "--seconds", "4", "--only", "gateway,envoy", "--json", "plain.json"])
    assert (chosen.only, chosen.rounds, chosen.json) == (["gateway", "envoy"], 9, Path("plain.json"))
    assert plain.parse([]).only == ["gateway", "uncompiled", "bare", "envoy", "nginx"]


def test_a_soak_takes_twenty_minutes_unless_told() -> None:
    assert (soak.parse([]).minutes, soak.parse([]).workers, soak.parse(["--minutes", "1"]).minutes) == (20.0, 2, 1.0)


@pytest.mark.parametrize(
    ("parse", "given"),
    [
        (program.parse, ["--jobs", "plane"]), (program.parse, ["--only", "apache"]), (program.parse, ["--rounds", "0"]),
        (program.parse, ["--seconds", "999"]), (plain.parse, ["--only", "apache"]), (soak.parse, ["--part", "2"]),
        (soak.parse, ["--minutes", "0"]),
    ],
)
def test_what_makes_no_sense_is_refused(
    parse: object, given: list[str], capsys: pytest.CaptureFixture[str]
) -> None:
    with pytest.raises(SystemExit) as ended:
        parse(given)  # type: ignore[operator]
    assert ended.value.code == 2
    assert "error:" in capsys.readouterr().err


def test_a_peer_that_answers_badly_is_named_and_left_out() -> None:
    def fails() -> Sample:
        raise BadAnswers("502")

    means = Means(1, 1.0)
    assert list(means.sample(suite.TLS_JOB, PROXIES["nginx"], "nginx", fails)) == []
    assert list(means.sample(suite.TLS_JOB, PROXIES["nginx"], "nginx", lambda: NGINX)) == []  # from then on
    assert list(means.sample(suite.PLAIN_JOB, PROXIES["nginx"], "nginx", lambda: NGINX)) == [NGINX]
    assert means.missing == {"tls: nginx": "502"} and not means.broken


def test_we_may_not_answer_badly() -> None:
    def fails() -> Sample:
        raise BadAnswers("502")

    with pytest.raises(BadAnswers, match="502"):
        list(Means(1, 1.0).sample(suite.TLS_JOB, PROXIES["gateway"], "gateway", fails))


# ---- configurations, alternation, progress


@pytest.mark.parametrize(
    "scenario",
    [Scenario(), Scenario(routes=10), Scenario(policies=True, bodies=True), Scenario(management=9100, count_as="two")],
    ids=["plain", "routes", "policies", "management"],
)
def test_our_configuration_is_one(scenario: Scenario) -> None:
    loaded = load_text(configuration(8080, (9001, 9002), "off", scenario), name="bench.yaml")
    routes = sum(len(api.routes) for api in loaded.configuration.apis)
    assert routes == (scenario.routes or 200)


def test_a_soak_has_a_second_upstream(tmp_path: Path) -> None:
    place = Place("gateway", 8080, (9001, 9002), tmp_path)
    loaded = load_text(Path(soak.configured(place, (9003, 9004), "edition 1")).read_text(), name="soak.yaml")
    assert {upstream.name for upstream in loaded.configuration.upstreams} == {"backend", "bulk"}
    assert loaded.configuration.apis[0].base_path == "/bulk"


def test_files_of_a_variant_have_plain_names(tmp_path: Path) -> None:
    place = Place("nginx, 10,000 routes", 8080, (9001, 9002), tmp_path, Scenario(routes=20))
    assert place.log.name == "nginx-10-000-routes.log"
    assert Path(place.kept("nginx.conf", "")).name == "nginx-10-000-routes-nginx.conf"


@pytest.mark.parametrize("name", ["envoy", "nginx", "haproxy", "caddy", "express"])
def test_no_place_of_a_template_is_left(name: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    package = tmp_path / "package"
    (package / "lib" / "config" / "models").mkdir(parents=True)
    (package / "lib" / "index.js").touch()
    for each in ("envoy", "nginx", "haproxy", "caddy", "node"):
        monkeypatch.setenv(each.upper(), f"/there/is/{each}")
    monkeypatch.setenv("EXPRESS_GATEWAY", str(package))
    place = Place(name, 8080, (9001, 9002), tmp_path, Scenario(policies=True))
    command = PROXIES[name].command(place)
    assert not isinstance(command, str), command
    written = [path for path in tmp_path.rglob(f"{name}*") if path.is_file()] + list(tmp_path.rglob("*.config.json"))
    texts = [path.read_text() for path in written]
    assert texts and not any("@" in text.replace('"@type"', "") for text in texts)
    assert any("9001" in text for text in texts) and any("8080" in text for text in texts)


def test_templates_are_filled() -> None:
    assert filled("listen @PORT@; return '@BODY@';", PORT=80, BODY="x") == "listen 80; return 'x';"


def test_each_round_is_begun_by_another(tmp_path: Path) -> None:
    proxies = [Running(PROXIES[name], Place(name, 1, (2, 3), tmp_path), 0) for name in ("gateway", "envoy", "nginx")]
    order = [one.label for one in in_turn(proxies, 4)]
    assert order[::3] == ["gateway", "envoy", "nginx", "gateway"]
    assert all(sorted(order[at : at + 3]) == ["envoy", "gateway", "nginx"] for at in range(0, 12, 3))
    assert list(in_turn([], 4)) == []


@pytest.mark.parametrize(("done", "filled_up"), [(0, 0), (6, 12), (12, 24)])
def test_a_bar_shows_how_far_it_is(done: int, filled_up: int) -> None:
    drawn = bar(done, 12)
    assert drawn.count("#") == filled_up and drawn.count(".") == 24 - filled_up
    assert drawn.endswith(f"] {done}/12")


def test_progress_is_a_line_for_each_step_where_nobody_watches() -> None:
    to = io.StringIO()
    progress = Progress("plain", 2, to)
    for what in ("gateway", "nginx"):
        progress.step(what)
    progress.end()
    assert to.getvalue() == "plain 1/2: gateway\nplain 2/2: nginx\n"


class Terminal(io.StringIO):
    """A terminal, as far as it says."""

    def isatty(self) -> bool:
        return True


def test_progress_is_one_line_on_a_terminal() -> None:
    to = Terminal()
    progress = Progress("plain", 2, to)
    progress.step("gateway")
    progress.step("nginx")
    progress.end()
    assert "\n" not in to.getvalue()
    assert to.getvalue().endswith("\r\x1b[K")
