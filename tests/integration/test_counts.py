"""Each measure against what a client knows it did: what every step must add, and nothing else, shows in `/metrics`.

The steps come one after the other, so nothing races, and all counters are compared whole: a count too many anywhere is
found too.
"""

import asyncio
import os
import signal
import time
from collections import Counter, defaultdict
from collections.abc import AsyncIterator, Callable
from contextlib import AsyncExitStack, suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

import pytest

from proxy.model.measures import COUNTERS, FIRST_BYTE, REQUEST_DURATION, UPSTREAM_DURATION
from tests.e2e.processes import adopting, alive_below
from tests.integration.control_world import Crossfade, free_port
from tests.integration.gateway.peers import connect
from tests.integration.soak.books import Values
from tests.integration.soak.steps import OUT, SECRET, Row, Step, steps
from tests.integration.soak.upstream import FaultyUpstream

PATIENCE: Final = 15.0
LIMIT: Final = 6
"""Client connections that the worker takes."""
CHECKED: Final = "    health_check: {path: /health, interval: 300ms}\n"
CONFIG: Final = """\
listen: {{address: "127.0.0.1:0"}}
admin: {{address: "127.0.0.1:{admin}"}}
drain_timeout: 5s
data_dir: {data_dir}
limits: {{max_connections: 6, body_timeout: 1s}}
override: {{secret: "{secret}"}}
upstreams:
  human: &human
    url: "http://127.0.0.1:{human}"
    timeouts: {{response: 700ms, idle: 700ms, keep_alive: 30s}}
    retry: {{attempts: 1, on: [reset, 503], budget: 100%, backoff: 5ms}}
    health_check: {{path: /health, interval: 300ms}}
  agent:
    <<: *human
    url: "http://127.0.0.1:{agent}"
routes:
  - name: refunds
    match: {{path_prefix: /refunds}}
    legacy: human
    rollout:
      agent: agent
      version: v1
      key: [{{header: x-user}}]
      salt: s
      shadow: {{max_body: 128KiB}}
      fallback: {{max_body: 64KiB}}
      compare: {{decision: $.decision}}
      split: {{shadow: 100, weight: 50}}
  - name: plain
    match: {{path_prefix: /plain}}
    legacy: human
"""


@dataclass(slots=True)
class Scene:
    crossfade: Crossfade
    human: FaultyUpstream
    agent: FaultyUpstream
    port: int = 0

    async def start(self, *changes: tuple[str, str]) -> None:
        """With these changes of its configuration."""
        file = self.crossfade.file
        text = file.read_text()
        for old, new in changes:
            assert old in text
            text = text.replace(old, new)
        file.write_text(text)
        await self.crossfade.start()
        self.port = int(self.crossfade.users.rpartition(":")[2])

    async def values(self) -> Values:
        async with self.crossfade.session.get(self.crossfade.admin + "/metrics") as response:
            return Values(await response.text())

    async def until(self, said: Callable[[Values], Any], expected: Any) -> None:
        """Wait until the metrics say so."""
        found = None
        with suppress(TimeoutError):
            async with asyncio.timeout(PATIENCE):
                while (found := said(await self.values())) != expected:
                    await asyncio.sleep(0.05)
        assert found == expected

    async def until_seen(self, number: int) -> None:
        """Wait until an arm has that request's head."""
        await asyncio.wait_for(self.human.came[number].wait(), PATIENCE)

    async def take(self, number: int, step: Step) -> float:
        """Do it; the seconds it took."""
        head, *rest = step.pieces(number)
        begun = time.monotonic()
        async with connect(self.port) as client:
            client.send(head)
            if step.late:
                await self.until_seen(number)
            client.send(b"".join(rest))
            if step.status:
                answer = await client.read(bodiless=step.method == "HEAD")
                assert answer.status == step.status, step.name
            else:
                await self.until_seen(number)
                client.reset()
            if step.upgrade:
                await self.until(lambda values: values.by("tunnels", "route", "arm"), {("refunds", "agent"): 1})
                client.writer.write_eof()
                await client.reader.read()
        if step.legacy == "stray":
            await self.until(lambda values: values.total("upstream_strays_total"), 1)
        return time.monotonic() - begun


@pytest.fixture
async def scene(tmp_path: Path) -> AsyncIterator[Scene]:
    came: defaultdict[int, asyncio.Event] = defaultdict(asyncio.Event)
    human, agent = FaultyUpstream("legacy", came), FaultyUpstream("agent", came)
    await human.start()
    await agent.start()
    file = tmp_path / "crossfade.yaml"
    file.write_text(
        CONFIG.format(secret=SECRET, admin=free_port(), data_dir=tmp_path / "data", human=human.port, agent=agent.port)
    )
    with adopting():
        crossfade = Crossfade(file)
        yield Scene(crossfade, human, agent)
        await crossfade.close()
        for pid in alive_below():
            os.kill(pid, signal.SIGKILL)
    await human.stop()
    await agent.stop()


def counted(values: Values) -> Counter[Row]:
    """All counters of the workers but health checks, which go on, and records: how long legacy takes decides whether
    one that is handed over makes two."""
    found: Counter[Row] = Counter()
    for family in COUNTERS:
        for labels, count in values.by(family.name, *family.labels).items():
            row = (labels,) if len(family.labels) == 1 else labels
            found[(family.name, *row)] += count
    apart = ("health_checks_total", "records_total")
    return Counter({row: count for row, count in found.items() if row[0] not in apart})


def checks_uncounted(scene: Scene, values: Values) -> int:
    """The health checks that the upstreams have answered and the metrics do not show yet."""
    shown = values.by("health_checks_total", "upstream", "result")
    answered: Counter[Row] = Counter()
    for name, upstream in (("human", scene.human), ("agent", scene.agent)):
        answered.update({(name, result): count for result, count in upstream.checks.items()})
    assert not shown - answered, "checks that nobody has answered"
    return (answered - shown).total()


async def test_every_measure_is_what_the_client_did(scene: Scene) -> None:
    await scene.start()
    drawn = steps()
    took = [await scene.take(number, step) for number, step in enumerate(drawn, start=1)]
    await scene.until(counted, Counter(row for step in drawn for row in step.adds))
    values = await scene.values()
    heads = Counter(name for step in drawn for name in step.heads)
    assert values.by(f"{UPSTREAM_DURATION.name}_count", "upstream") == heads
    labels = REQUEST_DURATION.labels
    assert values.by(f"{REQUEST_DURATION.name}_count", *labels) == values.by("requests_total", *labels)
    modes = Counter("legacy" if mode == "plain" else mode for step in drawn for mode in step.bodies)
    assert values.by(f"{FIRST_BYTE.name}_count", "mode") == modes
    # A copy is quicker than its client, but for the one that stalls, which no answer's duration counts.
    assert 0 < values.seconds(REQUEST_DURATION.name) <= 2 * sum(took)
    verdicts = Counter(step.pair for step in drawn if step.pair)
    await scene.until(lambda values: values.by("pairs_total", "verdict"), verdicts)
    answered = sum(step.route == "refunds" and step.status > 0 for step in drawn)
    assert 0 <= values.total("records_total") - answered <= values.total("fallbacks_total")
    await scene.until(lambda values: checks_uncounted(scene, values) <= 2, True)  # those just under way
    assert [*scene.human.wrong, *scene.agent.wrong] == []


def under_way(values: Values) -> dict[str, Any]:
    """The gauges that a client can know, and what there was no room for."""
    return {
        "inflight": values.total("inflight_requests"),
        "clients": values.total("client_connections"),
        "active": dict(values.by("upstream_connections", "upstream", state="active")),
        "queue": dict(values.by("upstream_queue", "upstream")),
        "copies": dict(values.by("shadow_pending", "route")),
        "refused": dict(values.by("connections_refused_total", "reason")),
    }


async def test_every_gauge_is_what_is_under_way(scene: Scene) -> None:
    few = ("  agent:\n", "    max_inflight: 2\n    max_queue: 1\n    queue_timeout: 30s\n  agent:\n")
    await scene.start(("700ms", "30s"), (CHECKED, ""), few)
    stalls = Step("all stalls", OUT, (), legacy="stall", agent="stall")
    nothing = {"inflight": 0, "clients": 0, "active": {}, "queue": {}, "copies": {}, "refused": {}}
    await scene.until(under_way, nothing)
    async with AsyncExitStack() as clients:
        waiting = [await clients.enter_async_context(connect(scene.port)) for _ in range(3)]
        for number, client in enumerate(waiting, start=1):
            client.send(b"".join(stalls.pieces(number)))
            await scene.until(lambda values: values.total("inflight_requests"), number)
        busy = {"human": 2, "agent": 2}
        full = {**nothing, "inflight": 3, "clients": 3, "active": busy, "queue": {"human": 1}, "copies": {"refunds": 2}}
        await scene.until(under_way, full)
        too_many = Step("past the queue", OUT, (), 503)
        await scene.take(4, too_many)
        gone = (full, {"503": 1})  # it has been counted, so it has been seen, and it is no longer there
        await scene.until(lambda values: (under_way(values), values.by("requests_total", "code")), gone)
        for _ in range(LIMIT - len(waiting)):
            await clients.enter_async_context(connect(scene.port))
        await scene.until(under_way, {**full, "clients": LIMIT})
        async with connect(scene.port) as refused:
            assert (await refused.read()).status == 503
        await scene.until(under_way, {**full, "clients": LIMIT, "refused": {"limit": 1}})
        for client in waiting:
            client.reset()
        await scene.until(lambda values: values.by("client_gone_total", "route"), {"refunds": 3})
    expected = {**nothing, "active": {"agent": 2}, "copies": {"refunds": 2}, "refused": {"limit": 1}}
    await scene.until(under_way, expected)
    values = await scene.values()
    fates, codes = values.by("shadow_total", "fate"), values.by("requests_total", "code")
    assert (fates, codes) == ({"dropped": 2}, {"503": 1})
    assert values.by("rollout_weight_percent", "route") == {"refunds": 50}
    assert values.by("rollout_phase", "route", "phase") == {("refunds", "progressing"): 1}
    assert values.total("store_up") == 1
