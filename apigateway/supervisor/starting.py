"""Which kind of program a configuration asks for."""

from __future__ import annotations

import os
from collections.abc import MutableMapping
from typing import Any, Literal

from apigateway.assembly import GatewayService
from apigateway.dataplane.certificates import stamp
from apigateway.program import ProgramService, Setting, checked_to_serve
from apigateway.replacement import PidFile
from apigateway.supervisor.service import SupervisorService
from apigateway.transport.inherited import Inherited


def make_service(
    reactor: Any, path: str, *, last_good: bool, inherited: Inherited, twistd_options: MutableMapping[str, Any] | None
) -> ProgramService:
    """The service of a configuration file: one process, or a supervisor of several. ConfigurationRefused where it is
    broken.

    inherited: from the program that this one replaces. twistd_options: where the name of its pidfile stands.
    """
    seen = stamp(path)
    checked, parts = checked_to_serve(path, use_last_good=last_good)
    setting = Setting(path, checked, parts, inherited, PidFile(twistd_options), seen)
    workers = number_of(setting.configuration.workers)
    return SupervisorService(reactor, setting, workers) if workers > 1 else GatewayService(reactor, setting)


def number_of(workers: int | Literal["auto"]) -> int:
    """How many workers; auto: one for each processor that this process may use."""
    if workers != "auto":
        return workers
    if hasattr(os, "sched_getaffinity"):
        return len(os.sched_getaffinity(0))
    return os.cpu_count() or 1  # macOS, where a process cannot be bound to some
