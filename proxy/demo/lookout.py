"""Looks at everything a few times a second, shows it, and waits for what should come."""

import asyncio
import time
from collections.abc import Callable
from statistics import median
from typing import Final

import aiohttp

from proxy.demo.census import Answer
from proxy.demo.children import Child
from proxy.demo.show import Show, Status
from proxy.demo.users import Users
from proxy.demo.watch import RouteView, Watch

_LOOK_EVERY: Final = 0.25
_AWAY_TIMEOUT: Final = 5.0
_RECENT: Final = 600


class PlayError(Exception):
    """The demonstration did not show what it should have; the text is the reason."""


class Lookout:
    """Its methods raise ChildError where a child has ended, and PlayError where the admin API stays away or what was
    waited for does not come."""

    def __init__(self, watch: Watch, users: Users, show: Show, children: list[Child]) -> None:
        self._watch, self._users, self._show, self._children = watch, users, show, children

    async def until_ready(self, within: float) -> None:
        """Wait until `/readyz` says yes, for `within` seconds at most."""
        deadline = time.monotonic() + within
        while not await self._watch.ready():
            self._check_children()
            if time.monotonic() > deadline:
                raise PlayError(f"crossfade was not ready within {within:.0f} s")
            await asyncio.sleep(_LOOK_EVERY)

    async def until(self, reached: Callable[[RouteView], bool], within: float, problem: str) -> RouteView:
        """Look until `reached` says yes. Raises PlayError with `problem` after `within` seconds."""
        deadline = time.monotonic() + within
        while True:
            route = (await self.look()).route
            if reached(route):
                return route
            if time.monotonic() > deadline:
                raise PlayError(f"{problem} within {within:.0f} s; {route}")
            await asyncio.sleep(_LOOK_EVERY)

    async def hold(self, seconds: float) -> RouteView:
        """Go on looking for so long."""
        end = time.monotonic() + seconds
        return await self.until(lambda _: time.monotonic() >= end, 2 * seconds, "the look-out fell asleep")

    async def look(self) -> Status:
        """One look, shown."""
        self._check_children()
        deadline = time.monotonic() + _AWAY_TIMEOUT
        while True:
            try:
                route, counters = await self._watch.route(), await self._watch.counters()
                break
            except (aiohttp.ClientError, TimeoutError) as error:
                if time.monotonic() > deadline:
                    raise PlayError(f"the admin API is away: {str(error) or type(error).__name__}") from error
            await asyncio.sleep(_LOOK_EVERY)
        users = self._users
        status = Status(route, counters, users.sent, len(users.answers), users.failed, _medians(users.answers))
        self._show.update(status)
        return status

    def _check_children(self) -> None:
        for child in self._children:
            child.check()


def _medians(answers: list[Answer]) -> dict[str, float]:
    """The median time of the latest answers in seconds, by arm."""
    recent = answers[-_RECENT:]
    times = {arm: [answer.duration for answer in recent if answer.arm == arm] for arm in ("legacy", "agent")}
    return {arm: median(durations) for arm, durations in times.items() if durations}
