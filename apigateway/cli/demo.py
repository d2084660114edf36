"""`apigateway demo`: two services, the gateway in front of them, and what to try."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import click

from apigateway.checking import check_file
from apigateway.cli import exit_codes
from apigateway.cli.demo_page import KEY, TOKEN, trials
from apigateway.cli.demo_processes import NotStarted, Processes, interrupt_on_signals
from apigateway.cli.demo_setting import EXAMPLE, DemoSetting, default_file, make_certificates, setting_of
from apigateway.cli.demo_traffic import Traffic
from apigateway.cli.printing import counted, print_problems
from apigateway.config.load import load_file
from apigateway.config.paths import absolute
from apigateway.errors import ConfigurationRefused


@click.command()
@click.argument("file", required=False, type=click.Path(path_type=Path))
def demo(file: Path | None) -> None:
    """Serve FILE (config/quickstart.yaml) in front of small services of its own, and show what to try.

    A service is started for each target on this machine; certificates that are missing are made. Ctrl-C
    ends all of it.
    """
    path = file or default_file()
    setting = _prepared(path)
    traffic = Traffic()
    processes = Processes(traffic.say)
    interrupt_on_signals()
    try:
        _serve(path, setting, processes, traffic)
    except NotStarted as error:
        raise click.ClickException(str(error)) from error
    except KeyboardInterrupt:
        traffic.say(f"ending; {counted(traffic.passed, 'request')} passed")
    finally:
        processes.end()


def _prepared(path: Path) -> DemoSetting:
    """The setting of a file, its certificates made; SystemExit(1) with what is in the way."""
    try:
        configuration = absolute(load_file(path).configuration, path.resolve().parent)
        make_certificates(configuration)
        problems = [problem for problem in check_file(str(path), strict=True).problems if not problem.warning]
    except ConfigurationRefused as refused:
        problems = list(refused.problems)
    if problems:
        print_problems(problems, err=True)
        raise SystemExit(exit_codes.REFUSED)
    setting = setting_of(configuration)
    taken = setting.taken()
    if taken:
        places = ", ".join(map(str, taken))
        raise click.ClickException(f"something else listens at {places}: end it, or name other ports in {path}")
    return setting


def _serve(path: Path, setting: DemoSetting, processes: Processes, traffic: Traffic) -> None:
    ends = [(f"end service {name}", processes.service(name, address)) for name, address in setting.services]
    gateway = processes.gateway(path, setting.addresses[0])
    ends.append((f"have {path} read again, after an edit", f"kill -HUP {gateway.pid}"))
    for line in _page(path, setting, ends):
        traffic.say(line)
    assert gateway.stdout is not None
    for line in gateway.stdout:
        traffic.take(line)
    raise NotStarted(f"the gateway has ended with status {gateway.wait()}")


def _page(path: Path, setting: DemoSetting, ends: list[tuple[str, str]]) -> Iterator[str]:
    yield f"The gateway serves {path} on {' and '.join(url for url in (setting.http, setting.https) if url)}."
    # Only the quickstart is known well enough to say what comes of a request.
    tries = [(trial.shows, trial.command) for trial in trials(setting)] if path.name == EXAMPLE.name else []
    if tries:
        yield f"Its API key is {KEY}, its management token {TOKEN}. In another terminal, try:"
    for shows, command in (*tries, *ends):
        yield from ("", f"  # {shows}", f"  {command}")
    yield from ("", "Ctrl-C ends all of it. What passes:")
