"""What operators see and do of all workers, as if they were one."""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Sequence
from typing import Any

from zope.interface import implementer

from apigateway import __version__
from apigateway.config.check_upstreams import target_name
from apigateway.config.model import Configuration
from apigateway.config.revision import withheld
from apigateway.ports.interfaces import IClock, IWorker, Unavailable
from apigateway.supervisor.crew import Crew, Slot
from apigateway.supervisor.running import RunningWorker


@implementer(IWorker)
class ShownCrew:
    """An IWorker of all workers; see manager.worker_api.

    configuration: gives the one that was taken last. reload: takes the file as it is now. last_reload: gives what came
    of it the last time.
    """

    def __init__(
        self, crew: Crew, clock: IClock, now: Callable[[], float], running: Callable[[], Configuration],
        reload: Callable[[], Awaitable[dict[str, Any]]], last_reload: Callable[[], dict[str, Any]],
    ) -> None:
        self._crew, self._clock, self._now = crew, clock, now
        self._running, self._reload, self._last_reload = running, reload, last_reload
        self._began = clock.monotonic()

    def live(self) -> bool:
        return True

    def ready(self) -> tuple[bool, str]:
        """Ready while one worker is."""
        if self._crew.stopping:
            return False, "draining"
        return (True, "") if self._crew.accepting else (False, "no worker is ready")

    async def status(self) -> dict[str, Any]:
        """As of one worker, and `workers`: each with slot, pid, state, revision; those that drain beside their
        successors are the last."""
        ready, why = self.ready()
        try:
            answers = await self._crew.ask_all("status")
        except Unavailable:
            answers = []  # which is what this shows then
        told = {worker.id: status for worker, status in answers}
        slots = list(enumerate(self._crew.slots))
        return {
            "version": __version__,
            "environment": self._running().environment,
            "uptime_seconds": round(self._clock.monotonic() - self._began, 3),
            "ready": ready,
            "why_not_ready": why,
            "revision": self._last_reload()["digest"],
            "exchanges_running": sum(status["exchanges_running"] for status in told.values()),
            "revisions_in_use": max((status["revisions_in_use"] for status in told.values()), default=0),
            "last_reload": self._last_reload(),
            "state": merged_state([(worker.slot, status["state"]) for worker, status in answers]),
            "listeners": merged_listeners([status["listeners"] for status in told.values()]),
            "unverified_upstreams": [
                upstream.name for upstream in self._running().upstreams if not upstream.tls.verify
            ],
            "workers": [
                *(self._worker(number, slot, slot.worker, told) for number, slot in slots),
                *(self._worker(number, slot, slot.leaving, told) for number, slot in slots if slot.leaving),
            ],
        }

    def _worker(
        self, number: int, slot: Slot, worker: RunningWorker | None, told: dict[int, dict[str, Any]]
    ) -> dict[str, Any]:
        now = self._now()
        shown: dict[str, Any] = {"slot": number, "restarts": slot.restarts}
        if worker is None:
            begins_in = round(max(0.0, slot.begins_at - now), 3)
            return {**shown, "pid": None, "state": "waiting", "begins_in_seconds": begins_in}
        status = told.get(worker.id)
        return {
            **shown,
            "pid": worker.pid,
            "state": "silent" if worker.silent else worker.state,
            "revision": worker.digest,
            "up_to_date": worker.number == self._crew.agreement.running.number,
            "uptime_seconds": round(now - worker.began, 3),
            "accepts_for": worker.accepts,
            "exchanges_running": status["exchanges_running"] if status else None,
        }

    def configuration(self) -> dict[str, Any]:
        return withheld(self._running())

    async def upstreams(self) -> list[dict[str, Any]]:
        """As of one worker; of each target, what each worker sees beside that."""
        return merged_upstreams(
            [(worker.slot, upstreams) for worker, upstreams in await self._crew.ask_all("upstreams")]
        )

    async def reload(self) -> dict[str, Any]:
        self._somebody_is_there()
        return await self._reload()

    async def drain_target(self, upstream: str, target: str, draining: bool) -> dict[str, Any]:
        """On all of them, and on those that come after, or answer again."""
        pair = (upstream, target)
        if pair not in targets_of(self._running()):
            raise LookupError(target)
        self._somebody_is_there()
        self._crew.drained = self._crew.drained | {pair} if draining else self._crew.drained - {pair}
        answers = await self._crew.ask_all("target", upstream, target)
        return merged_target([(worker.slot, shown) for worker, shown in answers])

    def _somebody_is_there(self) -> None:
        if not self._crew.accepting:
            raise Unavailable("no worker is there to do it")

    async def quotas(self) -> list[dict[str, Any]]:
        """As any of them has them: all have the same."""
        shown: list[dict[str, Any]] = await self._crew.ask_any("quotas")
        return shown

    async def quota_usage(self, step: str, key: str, most: int) -> list[dict[str, Any]]:
        """As any of them sees it: they share the store."""
        usage: list[dict[str, Any]] = _available(await self._crew.ask_any("quota_usage", step, key, most))
        return usage

    async def reset_quota(self, step: str, key: str) -> bool:
        return bool(_available(await self._crew.ask_any("reset_quota", step, key)))

    async def caches(self) -> list[dict[str, Any]]:
        """Those of one name in all workers together."""
        return merged_caches([caches for _, caches in await self._crew.ask_all("caches")])

    async def purge_caches(self, name: str, everywhere: bool) -> int:
        """In all of this machine; one of them tells the others of the environment."""
        self._somebody_is_there()
        were = [count for _, count in await self._crew.ask_all("purge_caches", name, False)]
        if everywhere:
            await self._crew.ask_any("purge_caches", name, True)
        return sum(were)

    async def explain(self, method: str, url: str, headers: Sequence[tuple[str, str]]) -> dict[str, Any]:
        """As any of them does."""
        shown: dict[str, Any] = await self._crew.ask_any("explain", method, url, [list(pair) for pair in headers])
        return shown


def _available(answer: dict[str, Any]) -> Any:
    if "unavailable" in answer:
        raise Unavailable(answer["unavailable"])
    return answer["value"]


def targets_of(configuration: Configuration) -> set[tuple[str, str]]:
    """Every target, with its upstream before it."""
    return {(upstream.name, target_name(target)) for upstream in configuration.upstreams for target in upstream.targets}


# ---- several answers as one


def merged_state(answers: Sequence[tuple[int, dict[str, Any]]]) -> dict[str, Any]:
    """The state as the worker sees it that is worst off; its counts are of all, and `workers` tells each. answers: by
    slot."""
    if not answers:
        return {}
    worst = min((state for _, state in answers), key=lambda state: bool(state["connected"]))
    counted = [key for key in ("failures", "refused") if key in worst]
    counts: dict[str, Any] = {key: sum(state[key] for _, state in answers) for key in counted}
    return {**worst, **counts, "workers": [{"slot": slot, "connected": state["connected"]} for slot, state in answers]}


def merged_caches(answers: Sequence[Sequence[dict[str, Any]]]) -> list[dict[str, Any]]:
    """Caches with the figures of all."""
    merged: dict[str, dict[str, Any]] = {}
    for cache in (cache for answer in answers for cache in answer):
        known = merged.setdefault(cache["name"], {"name": cache["name"]})
        known.update({what: known.get(what, 0) + count for what, count in cache.items() if what != "name"})
    return [merged[name] for name in sorted(merged)]


def merged_listeners(answers: Sequence[Sequence[dict[str, Any]]]) -> list[dict[str, Any]]:
    """Listeners with the connections of all."""
    merged: dict[str, dict[str, Any]] = {}
    for listener in (listener for answer in answers for listener in answer):
        known = merged.setdefault(listener["name"], {**listener, "connections": 0})
        known["connections"] += listener["connections"]
    return list(merged.values())


def merged_upstreams(answers: Sequence[tuple[int, Sequence[dict[str, Any]]]]) -> list[dict[str, Any]]:
    """Upstreams, each target once; answers: by slot. What else they tell of canaries and mirrors is of all together."""
    shown: dict[str, dict[str, Any]] = {}
    targets: dict[str, dict[str, list[tuple[int, dict[str, Any]]]]] = {}
    for slot, upstreams in answers:
        for upstream in upstreams:
            known = shown.setdefault(upstream["name"], upstream)
            if known is not upstream:
                beside = {name: merged_figures(known[name], upstream[name]) for name in TOGETHER if name in upstream}
                shown[upstream["name"]] = {**known, **beside}
            of_upstream = targets.setdefault(upstream["name"], {})
            for target in upstream["targets"]:
                of_upstream.setdefault(target["name"], []).append((slot, target))
    return [
        {**upstream, "targets": [merged_target(several) for several in targets[name].values()]}
        for name, upstream in shown.items()
    ]


# Of an upstream, what is counted by each worker.
TOGETHER = ("canary", "mirror")


def merged_figures(one: dict[str, Any], other: dict[str, Any]) -> dict[str, Any]:
    """Counts added up, what holds for one of them, and the first text that there is; the rest is the same in both."""
    return {name: _merged(value, other[name]) for name, value in one.items()}


def _merged(one: Any, other: Any) -> Any:
    if isinstance(one, bool | str):
        return one or other
    return one + other if isinstance(one, int) else one


# Of a target, what every worker sees with its own eyes.
EACH = ("healthy", "usable", "why", "active", "connections", "breaker", "aside", "latency_seconds")


def merged_target(answers: Sequence[tuple[int, dict[str, Any]]]) -> dict[str, Any]:
    """A target as all see it: healthy, and usable, where it is for each of them. answers: by slot, at least one."""
    each = [target for _, target in answers]
    return {
        **each[0],
        "healthy": all(target["healthy"] for target in each),
        "draining": any(target["draining"] for target in each),
        "usable": all(target["usable"] for target in each),
        "why": next((target["why"] for target in each if target["why"]), ""),
        "active": sum(target["active"] for target in each),
        "connections": {
            state: sum(target["connections"][state] for target in each) for state in each[0]["connections"]
        },
        "workers": [
            {"slot": slot, **{name: target[name] for name in EACH if name in target}}
            for slot, target in answers
        ],
    }
