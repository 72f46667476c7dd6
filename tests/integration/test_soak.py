"""A soak: a whole Crossfade between clients and upstreams that do all that clients and upstreams do, from one seed.

Afterwards each request has had one answer, its own; the books balance; and the worker has no more descriptors and
hardly more memory than before. `--soak` goes on for minutes (CROSSFADE_SOAK_SECONDS); CROSSFADE_SOAK_SEED repeats a
run that failed.
"""

import asyncio
import os
import signal
from collections import defaultdict
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager, suppress
from pathlib import Path
from random import Random
from time import monotonic
from typing import Any, Final

import pytest

from proxy.model.snapshot import BUCKETS
from proxy.routing.bucket import bucketer
from tests.e2e.processes import adopting, alive_below
from tests.integration.control_world import Crossfade, free_port
from tests.integration.soak.books import Books, Values
from tests.integration.soak.plan import Planner
from tests.integration.soak.upstream import FaultyUpstream
from tests.integration.soak.verdicts import Judge
from tests.integration.soak.visits import Ledger, Visitor

SEED: Final = int(os.environ.get("CROSSFADE_SOAK_SEED", "1"))
SECONDS: Final = float(os.environ.get("CROSSFADE_SOAK_SECONDS", "120"))
CLIENTS: Final = 40
"""Visits at the same time."""
WARM_UP: Final = 1_000
REQUESTS: Final = 4_000
ROUND: Final = 1_000
"""Requests of one round of the long run."""
RELOAD_EVERY: Final = 80
"""Visits: about a second."""
WEIGHTS: Final = (30, 70)
REST: Final = 20.0
"""Seconds until all that was under way, or is kept for later, has come to its end."""
GROWTH: Final = 40 << 20
"""Bytes that the worker may have more than after the warm-up: what an allocator keeps is not the same each time."""
UNEXPECTED: Final = ("breaker_tripped", "rolled_back", "upstream_unhealthy", "child_ended")

CONFIG: Final = """\
listen: {{address: "127.0.0.1:0"}}
admin: {{address: "127.0.0.1:{admin}"}}
drain_timeout: 5s
data_dir: {data_dir}
limits: {{header_timeout: 1s, body_timeout: 1s, idle_timeout: 3s}}
upstreams:
  human: &human
    url: "http://127.0.0.1:{human}"
    timeouts: {{connect: 1s, response: 3s, idle: 1s, keep_alive: 1s, total: 5s}}
    retry: {{attempts: 1, on: [connect_failure, reset, 503], budget: 100%, backoff: 10ms}}
    health_check: {{path: /health, interval: 500ms, timeout: 2s}}
    max_inflight: 16
    max_queue: 16
    queue_timeout: 1s
    max_idle: {legacy_idle}
  agent:
    <<: *human
    url: "http://127.0.0.1:{agent}"
    timeouts: {{connect: 1s, response: 1s, idle: 1s, keep_alive: 1s, total: 5s}}
    max_inflight: 32
    max_queue: 64
    max_idle: {agent_idle}
routes:
  - name: refunds
    match: {{path_prefix: /refunds}}
    legacy: human
    rollout:
      agent: agent
      version: v1
      key: [{{header: x-user}}]
      salt: s
      shadow: {{max_body: 128KiB, max_pending: 24, timeout: 4s}}
      fallback: {{max_body: 64KiB}}
      compare: {{decision: $.decision}}
      guard: {{error_rate: {{margin: 99%}}}}
      split: {{shadow: 100, weight: {weight}}}
  - name: plain
    match: {{path_prefix: /plain}}
    legacy: human
"""


class Soak:
    """A Crossfade, its two upstreams and its clients."""

    def __init__(self, folder: Path, human: FaultyUpstream, agent: FaultyUpstream) -> None:
        self.human, self.agent = human, agent
        self.ledger = Ledger()
        self._planner = Planner(SEED)
        self._settings = Random(SEED)
        self._places = {"data_dir": folder / "data", "human": human.port, "agent": agent.port, "admin": free_port()}
        self._file = folder / "crossfade.yaml"
        self._visits = 0
        self.renewed = -1
        self._configure()
        self.crossfade = Crossfade(self._file)

    def _configure(self) -> None:
        """A new weight, and now and then pools that are new because their settings are."""
        self.renewed += 1
        random = self._settings
        weight, legacy_idle, agent_idle = random.randint(*WEIGHTS), random.choice((32, 64)), random.choice((4, 64))
        text = CONFIG.format(**self._places, weight=weight, legacy_idle=legacy_idle, agent_idle=agent_idle)
        whole = self._file.with_suffix(".new")
        whole.write_text(text)
        whole.replace(self._file)

    @property
    def worker(self) -> int:
        return self.crossfade.child("worker")

    async def go_through(self, requests: int) -> None:
        """So many requests, of CLIENTS clients at a time, while the configuration changes."""
        port = int(self.crossfade.users.rpartition(":")[2])
        visits = iter(self._planner.visits(requests))

        async def client() -> None:
            for visit in visits:
                await Visitor(port, self.ledger, self.human.came).make(visit)
                self._visits += 1
                if self._visits % RELOAD_EVERY == 0:
                    self._configure()

        async with asyncio.TaskGroup() as clients:
            for _ in range(CLIENTS):
                clients.create_task(client())

    def wrong(self) -> list[str]:
        low, high = (percent * BUCKETS // 100 for percent in WEIGHTS)
        judge = Judge(self.human, self.agent, bucketer("s"), (low, high))
        judged = [fault for outcome in self.ledger.outcomes if (fault := judge.wrong(outcome))]
        return [*self.ledger.wrong, *self.human.wrong, *self.agent.wrong, *judged]

    async def balance(self) -> None:
        """Wait until the books balance, and all is at rest."""
        books = Books(self.ledger, self.human, self.agent, self.renewed)
        faults = ["nothing was looked at"]
        with suppress(TimeoutError):
            async with asyncio.timeout(REST):
                while faults:
                    await asyncio.sleep(0.2)
                    faults = books.faults(await self._values(), await self._totals())
        assert not faults, "\n".join(faults)
        assert list(books.faults_of_pairs(await self._values(), await self._pairs())) == []

    async def _totals(self) -> dict[str, dict[str, int]]:
        """Each arm's requests, of all the weights that there were: each has evidence of its own."""
        where = f"{self.crossfade.admin}/api/v1/routes/refunds/evidence?limit=500"
        async with self.crossfade.session.get(where) as response:
            evidence = (await response.json())["evidence"]
        return {
            arm: {"requests": sum(each["totals"][arm]["requests"] for each in evidence)} for arm in ("legacy", "agent")
        }

    async def _values(self) -> Values:
        async with self.crossfade.session.get(self.crossfade.admin + "/metrics") as response:
            return Values(await response.text())

    async def _pairs(self) -> list[dict[str, Any]]:
        """All that are in the store."""
        found: list[dict[str, Any]] = []
        query = {"limit": "500"}
        while True:
            url = self.crossfade.admin + "/api/v1/routes/refunds/pairs"
            async with self.crossfade.session.get(url, params=query) as response:
                page = await response.json()
            found += page["pairs"]
            if page["next"] is None:
                return found
            query["before"] = page["next"]


@asynccontextmanager
async def arms() -> AsyncIterator[tuple[FaultyUpstream, FaultyUpstream]]:
    came: defaultdict[int, asyncio.Event] = defaultdict(asyncio.Event)
    human, agent = FaultyUpstream("legacy", came), FaultyUpstream("agent", came)
    await human.start()
    await agent.start()
    try:
        yield human, agent
    finally:
        await human.stop()
        await agent.stop()


@pytest.fixture
async def soak(tmp_path: Path) -> AsyncIterator[Soak]:
    async with arms() as (human, agent):
        soak = Soak(tmp_path, human, agent)
        with adopting():
            yield soak
            await soak.crossfade.close()
            for pid in alive_below():
                os.kill(pid, signal.SIGKILL)


def descriptors(pid: int) -> int:
    return len(list(Path(f"/proc/{pid}/fd").iterdir()))


def memory(pid: int) -> int:
    """Bytes that are resident (proc(5), VmRSS)."""
    status = Path(f"/proc/{pid}/status").read_text()
    line = next(line for line in status.splitlines() if line.startswith("VmRSS"))
    return int(line.split()[1]) << 10


async def fewest_descriptors(pid: int) -> int:
    """While nothing but a health check comes and goes."""
    counts = []
    for _ in range(20):
        counts.append(descriptors(pid))
        await asyncio.sleep(0.02)
    return min(counts)


async def soaked(soak: Soak, go: Callable[[], Awaitable[None]]) -> None:
    """Warm up, `go`, and look whether all is right and as before."""
    print(f"CROSSFADE_SOAK_SEED={SEED}")  # noqa: T201  # for whoever reads why it failed
    await soak.crossfade.start()
    await soak.go_through(WARM_UP)
    await soak.balance()
    worker = soak.worker
    before, held = await fewest_descriptors(worker), memory(worker)
    await go()
    wrong = soak.wrong()
    assert not wrong, "\n".join(wrong)
    await soak.balance()
    assert soak.worker == worker, "the worker was started again"
    assert await fewest_descriptors(worker) <= before
    assert memory(worker) - held < GROWTH
    assert soak.crossfade.noise == []
    assert [line for line in soak.crossfade.log if line["level"] not in ("info", "warning")] == []
    assert [line for line in soak.crossfade.log if line["event"] in UNEXPECTED] == []
    assert await soak.crossfade.stop() == 0


async def test_every_request_has_its_one_answer_and_the_books_balance(soak: Soak) -> None:
    await soaked(soak, lambda: soak.go_through(REQUESTS))


@pytest.mark.soak
@pytest.mark.timeout(SECONDS + 600)
async def test_it_goes_on_like_that(soak: Soak) -> None:
    async def rounds() -> None:
        end = monotonic() + SECONDS
        while monotonic() < end:
            await soak.go_through(ROUND)

    await soaked(soak, rounds)
