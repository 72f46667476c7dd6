"""The play in acts: shadow and the ramp, the agent's failure and the swap back, what was recorded.

Each act tells what it sees and checks it; a check that does not hold raises PlayError and ends the demonstration. What
is checked is what users and operators see: answers, the admin API, the metrics. Nothing here looks inside.
"""

import time
from collections import Counter
from typing import Any, Final

import aiohttp

from proxy.demo import census
from proxy.demo.census import Census
from proxy.demo.lookout import Lookout, PlayError
from proxy.demo.scene import STAGES, Stage
from proxy.demo.show import Show
from proxy.demo.summary import Report
from proxy.demo.users import Users
from proxy.demo.watch import RouteView, Watch

_READY_TIMEOUT: Final = 30.0
_STAGE_TIMEOUT: Final = 30.0
_SWAP_TIMEOUT: Final = 15.0
_COUNTED_TIMEOUT: Final = 10.0
_SETTLE: Final = 1.0
"""Seconds after which a change has reached every worker (the design promises less), and requests that were under way
have been answered."""

_LAST_STAGE_FOR: Final = 6.0
_DEGRADED_FOR: Final = 5.0
_PAIRS_SHOWN: Final = 4


class Play:
    """The acts, to be played in the order in which they stand."""

    def __init__(self, lookout: Lookout, watch: Watch, users: Users, show: Show, report: Report) -> None:
        self._lookout, self._watch, self._users, self._show = lookout, watch, users, show
        self._report = report

    async def opening(self) -> None:
        """Wait until Crossfade is ready for traffic."""
        began = time.monotonic()
        await self._lookout.until_ready(_READY_TIMEOUT)
        self._show.event(f"crossfade run is ready after {time.monotonic() - began:.1f} s")

    async def ramp(self) -> None:
        """Shadow, then every stage up to the last, which is held a while."""
        before: Census | None = None
        for stage in STAGES:
            await self._enter(stage)
            begin = time.time() + _SETTLE
            end = await self._leave(stage)
            seen = census.take(self._users.answers, begin, end)
            self._check_stage(stage, before, seen)
            self._report.course.append(stage.name)
            before = seen

    async def failure(self, session: aiohttp.ClientSession, agent: str) -> None:
        """The agent (at the URL `agent`) fails; traffic must swap back by itself, and no user may notice."""
        began = time.time()
        async with session.post(f"{agent}/_demo/mode", json={"mode": "failing"}) as response:
            response.raise_for_status()
        self._show.event("the agent now answers 500 to everything", style="bold red")
        view = await self._lookout.until(
            lambda seen: seen.phase == "degraded", _SWAP_TIMEOUT, "traffic was not swapped back to legacy"
        )
        text = f"swapped back to legacy {max(0.0, view.since - began):.1f} s after the agent began to fail"
        self._show.event(f"{text} ({view.reason})", style="bold green")
        settled = time.time() + _SETTLE
        await self._lookout.hold(_SETTLE + _DEGRADED_FOR)
        self._check_swap(began, settled)
        self._report.course.append("degraded")
        self._report.shown.append(f"{text}, without a failed answer to a user")

    async def epilogue(self) -> None:
        """With the traffic ended: do the books balance, and what was recorded?"""
        if self._users.failed:
            raise PlayError(f"{self._users.failed} users got a failed answer: {self._users.failures[:3]}")
        answered = len(self._users.answers)
        deadline = time.monotonic() + _COUNTED_TIMEOUT
        while True:
            status = await self._lookout.look()
            counters = status.counters
            alone, compared = counters.answers["agent", "canary"], counters.pairs.total()
            if counters.answers.total() == counters.shadow.total() == compared + alone == answered:
                break
            if time.monotonic() > deadline:
                raise PlayError(f"the books do not balance: {answered} answers came, {counters}")
            await self._lookout.hold(0.2)
        self._report.shown.append(
            f"the books balance: {answered:,} answers, as many fates of copies; {alone:,} by the agent alone,"
            f" {compared:,} compared"
        )
        self._read_pairs(counters.pairs, await self._watch.mismatches(_PAIRS_SHOWN))

    async def _enter(self, stage: Stage) -> None:
        view = await self._lookout.until(
            lambda seen: _on_course(seen) and seen.stage == stage.name,
            _STAGE_TIMEOUT,
            f"stage {stage.name} was not entered",
        )
        if view.weight != stage.weight:
            raise PlayError(f"stage {stage.name} has weight {view.weight:g} %, not {stage.weight} %")
        serves = (
            f"serves {stage.weight} % of the users" if stage.weight else "gets a copy of every request, acts on none"
        )
        self._show.event(f"stage {stage.name}: the agent {serves}", style="bold")

    async def _leave(self, stage: Stage) -> float:
        """Wait for the stage's end: Unix seconds."""
        if stage is STAGES[-1]:
            if (view := await self._lookout.hold(_LAST_STAGE_FOR)).stage != stage.name or not _on_course(view):
                raise PlayError(f"stage {stage.name} was not held; {view}")
            return time.time()
        view = await self._lookout.until(
            lambda seen: _on_course(seen) and seen.stage != stage.name,
            stage.soak + _STAGE_TIMEOUT,
            f"stage {stage.name} was not left",
        )
        return view.since

    def _check_stage(self, stage: Stage, before: Census | None, seen: Census) -> None:
        where = f"stage {stage.name}"
        if not seen.asked:
            raise PlayError(f"{where}: no user was answered")
        if seen.torn:
            raise PlayError(f"{where}: {len(seen.torn)} users were served by both arms, {min(seen.torn)} among them")
        if not census.is_fair(seen, stage.weight):
            raise PlayError(f"{where}: {seen.share:.1%} of {len(seen.asked)} users were served by the agent")
        if before is not None and (lost := census.lost(before, seen)):
            raise PlayError(f"{where}: {len(lost)} users went back to legacy, {min(lost)} among them")
        kept = ", all from the stage before among them" if before is not None and before.inside else ""
        text = f"{where}: the agent served {len(seen.inside)} of {len(seen.asked)} users ({seen.share:.1%}){kept}"
        self._show.event(text)
        self._report.shown.append(text)

    def _check_swap(self, began: float, settled: float) -> None:
        after = [answer for answer in self._users.answers if answer.started >= settled]
        if not after:
            raise PlayError("no user was answered after the swap")
        if strays := sum(answer.inside for answer in after):
            raise PlayError(f"{strays} of {len(after)} answers after the swap were not legacy's alone")
        hidden = sum(answer.started >= began and "500" in answer.handed_over for answer in self._users.answers)
        if not hidden:
            raise PlayError("no failure of the agent was hidden by a fallback")
        self._show.event(f"fallbacks hid {hidden} failures; all {len(after)} answers since the swap are legacy's")

    def _read_pairs(self, pairs: Counter[str], mismatches: list[dict[str, Any]]) -> None:
        if not pairs["mismatched"] or not mismatches:
            raise PlayError(f"{pairs['mismatched']} pairs mismatched, and {len(mismatches)} can be read back")
        self._report.mismatches = mismatches
        agreement = pairs["matched"] / (pairs["matched"] + pairs["mismatched"])
        self._report.shown.append(
            f"agreement {agreement:.1%}: {pairs['matched']:,} pairs matched, {pairs['mismatched']:,} mismatched,"
            f" {pairs['incomparable']:,} could not be compared"
        )


def _on_course(view: RouteView) -> bool:
    if view.phase in {"degraded", "paused"}:
        raise PlayError(f"the rollout left its course: {view.phase} at stage {view.stage}: {view.reason}")
    return True
