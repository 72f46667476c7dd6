"""A route whose human decides later, on a real store: records go in as workers report them, decisions as they come."""

from typing import Any

import orjson

from proxy.config.rollout_schema import Rollout
from proxy.control.batching import make_batches, route_rules
from proxy.control.intake import Intake
from proxy.control.joining import Joiner
from proxy.model.records import Decided, Outcome, Record
from proxy.model.rollouts import Evidence
from proxy.model.tick import Tick
from proxy.outcomes.closing import merged
from proxy.storage import keys, totals
from proxy.storage.late import LateStore
from proxy.storage.pairs import PairStore
from proxy.storage.sealing import Sealer
from proxy.telemetry.families import LATE
from proxy.telemetry.metrics import Metrics
from tests.fakes import FakeClock
from tests.packing import pack

STAGE = ("v1", 1, "shadow")
DAY = 86_400.0
SETTINGS: dict[str, Any] = {
    "agent": "a", "version": "v1", "salt": "s", "compare": {"decision": "$.d"},
    "pending": {"key": "$.id", "callback": {"path_prefix": "/done", "key": "$.case", "decision": "$.result"}},
}  # fmt: skip


class World:
    """`now` is `clock.now()`; each pair is told by its number, oldest first."""

    def __init__(self, redis: Any, route: str = "refunds", **settings: Any) -> None:
        self.redis, self.route = redis, route
        self.rules = {route: route_rules(Rollout.model_validate(SETTINGS | settings))}
        self.clock, self.sealer, self.leads = FakeClock(), Sealer(), True
        self.pairs, self.store = PairStore(redis), LateStore(redis)
        self.intake = Intake(self.store, self.sealer, self.clock)
        self.intake.set_rules(self.rules)
        self.metrics, self.joiner = self.replica()
        self.seq = 0

    def replica(self, store: Any = None) -> tuple[Metrics, Joiner]:
        metrics = Metrics(process=False)
        joiner = Joiner(store or self.store, self.sealer, metrics, self.clock, lambda: self.leads)
        joiner.set_rules(self.rules)
        return metrics, joiner

    def record(self, case: object, agent: str | None, *, legacy: int = 202, request_id: str = "r1") -> Record:
        """Legacy says 202 with a case; the agent said `agent`, or was not asked."""
        other = Outcome(200, 0.01, body=orjson.dumps({"d": agent})) if agent is not None else None
        answered = Outcome(legacy, 0.01, body=orjson.dumps({"id": case}))
        return Record(
            request_id, "0" * 32, self.route, "v1", "shadow", 1, self.clock.now(), "POST", "/refunds", "abcd", 7,
            "legacy", "legacy", "bucket_out", "mirrored", legacy=answered, agent=other,
        )  # fmt: skip

    async def write(self, *records: Any) -> None:
        self.seq += 1
        tick = Tick("w1", self.seq, self.clock.now(), {}, records=pack(*records), users={})
        late = lambda route, result: self.metrics.count(LATE, route, result)  # noqa: E731
        batches = await make_batches(tick, self.rules, lambda *_: None, self.sealer, late)
        await self.pairs.write(batches)

    async def open(self, case: object = "c1", agent: str | None = "approve", **more: Any) -> None:
        await self.write(self.record(case, agent, **more))

    async def tell(self, case: str = "c1", decision: Any = "approve", *, at: float | None = None, **more: Any) -> None:
        """`at` are seconds since the clock's start."""
        when = 1_800_000_000.0 + at if at is not None else None
        assert await self.intake.take([Decided(self.route, "case", case, decision, when, **more)]) == [""]

    async def join(self) -> None:
        await self.joiner.round()

    async def shown(self) -> list[dict[str, Any]]:
        """All pairs, oldest first, with what decisions made of them."""
        entries = await self.redis.xrange(keys.pairs(self.route))
        found = []
        for entry, fields in entries:
            document = orjson.loads(self.sealer.open(fields[b"pair"], self.route))
            closed = await self.redis.get(keys.closed(self.route, entry.decode()))
            found.append(merged(document, orjson.loads(self.sealer.open(closed, self.route))) if closed else document)
        return found

    async def verdicts(self) -> list[str | None]:
        return [pair["verdict"] for pair in await self.shown()]

    async def evidence(self) -> Evidence:
        return await totals.read(self.redis, self.route, *STAGE)

    async def waiting(self) -> int:
        return int(await self.redis.xlen(keys.outcomes(self.route)))

    def results(self) -> dict[str, float]:
        """What became of the decisions."""
        return {result: n for (_, result), n in self.metrics._counters[LATE.name].items()}
