import asyncio
from collections.abc import Sequence
from itertools import product
from typing import Any

import orjson
import pytest
from structlog.testing import capture_logs

from proxy.config.rollout_schema import Rollout
from proxy.control import batching
from proxy.control.batching import make_batches, route_rules
from proxy.model.measures import OUTCOMES
from proxy.model.records import Outcome, Record
from proxy.model.rollouts import ArmCount, Batch, Evidence
from proxy.model.tick import Labels, Tick
from tests.packing import pack

ROLLOUT = Rollout.model_validate(
    {"agent": "a", "version": "v1", "salt": "s", "compare": {"decision": "$.d"}, "record": {"max_pairs": 300}}
)
RULES = {"refunds": route_rules(ROLLOUT), "claims": route_rules(ROLLOUT)}


def record(request_id: str, *, route: str = "refunds", stage: str = "canary", agent: str | None = "yes") -> Record:
    """Legacy always says yes."""
    legacy = Outcome(200, 0.01, body=b'{"d": "yes"}')
    other = None if agent is None else Outcome(200, 0.01, body=orjson.dumps({"d": agent}))
    return Record(
        request_id, "0" * 32, route, "v1", stage, 1, 1e9, "POST", "/refunds", "abcd", 7, "legacy", "legacy",
        "bucket_out", "mirrored", legacy=legacy, agent=other,
    )  # fmt: skip


def tick(*records: Any, outcomes: dict[Labels, int] | None = None) -> Tick:
    return Tick("w1", 5, 1e9, {OUTCOMES.name: outcomes} if outcomes else {}, records=pack(*records))


async def made(tick: Tick) -> tuple[dict[str, Batch], list[tuple[str, str, int]]]:
    """The batches by route, and what was told to be dropped."""
    dropped: list[tuple[str, str, int]] = []
    batches = await make_batches(tick, RULES, lambda *told: dropped.append(told))
    by_route = {batch.route: batch for batch in batches}
    assert len(by_route) == len(batches)
    return by_route, dropped


def ids(pairs: Sequence[tuple[str | None, bytes]]) -> list[tuple[str | None, str]]:
    return [(verdict, orjson.loads(document)["request_id"]) for verdict, document in pairs]


async def test_a_tick_of_nothing_is_no_batch() -> None:
    assert await made(tick()) == ({}, [])


async def test_records_become_pairs_and_their_verdicts_evidence() -> None:
    batches, dropped = await made(tick(record("a"), record("b", agent="no"), record("c", agent=None), record("d")))
    batch = batches["refunds"]
    assert (batch.source, batch.seq, batch.max_pairs) == ("w1", 5, 300)
    assert ids(batch.pairs) == [("matched", "a"), ("mismatched", "b"), (None, "c"), ("matched", "d")]
    assert batch.evidence == {("v1", 1, "canary"): Evidence(matched=2, mismatched=1)}
    assert dropped == []


async def test_outcomes_become_evidence_and_failed_ones_are_requests_too() -> None:
    results = product(("legacy", "agent"), ("ok", "failed", "slow"))
    outcomes: dict[Labels, int] = {
        ("refunds", "v1", "canary", "1", arm, result): 10**power for power, (arm, result) in enumerate(results)
    }
    batches, _ = await made(tick(outcomes=outcomes))
    assert batches["refunds"].evidence == {
        ("v1", 1, "canary"): Evidence(ArmCount(11, 10, 100), ArmCount(11_000, 10_000, 100_000))
    }


async def test_routes_stages_and_epochs_are_kept_apart() -> None:
    outcomes: dict[Labels, int] = {
        ("refunds", "v1", "canary", "1", "legacy", "ok"): 1,
        ("refunds", "v1", "canary", "2", "legacy", "ok"): 2,
        ("refunds", "v2", "shadow", "1", "legacy", "ok"): 4,
        ("claims", "v1", "canary", "1", "legacy", "ok"): 8,
    }
    batches, _ = await made(tick(record("a", stage="shadow"), record("b", route="claims"), outcomes=outcomes))
    assert batches["refunds"].evidence == {
        ("v1", 1, "canary"): Evidence(ArmCount(1)),
        ("v1", 2, "canary"): Evidence(ArmCount(2)),
        ("v2", 1, "shadow"): Evidence(ArmCount(4)),
        ("v1", 1, "shadow"): Evidence(matched=1),
    }
    assert batches["claims"].evidence == {("v1", 1, "canary"): Evidence(ArmCount(8), matched=1)}


async def test_what_is_of_no_known_route_is_left_out_and_its_records_counted() -> None:
    outcomes: dict[Labels, int] = {("gone", "v1", "canary", "1", "legacy", "ok"): 1}
    batches, dropped = await made(tick(record("a", route="gone"), record("b"), outcomes=outcomes))
    assert set(batches) == {"refunds"}
    assert dropped == [("gone", "no_route", 1)]


async def test_what_cannot_be_read_is_counted_and_costs_nothing_else() -> None:
    wrong_time = record("x")._replace(at="yesterday")  # type: ignore[arg-type]  # on purpose
    outcomes: dict[Labels, int] = {
        ("refunds", "v1", "canary", "one", "legacy", "ok"): 1,
        ("refunds", "v1", "canary", "1", "both", "ok"): 1,
        ("refunds", "v1", "canary", "1", "agent", "happy"): 1,
        ("refunds",): 1,
    }
    with capture_logs() as logs:
        batches, dropped = await made(tick(record("a"), None, [1, 2], {}, wrong_time, record("b"), outcomes=outcomes))
    assert ids(batches["refunds"].pairs) == [("matched", "a"), ("matched", "b")]
    assert batches["refunds"].evidence == {("v1", 1, "canary"): Evidence(matched=2)}
    assert dropped == [("", "malformed", 1)] * 3 + [("refunds", "malformed", 1)]
    assert [entry["event"] for entry in logs] == ["outcomes_malformed"] * 4 + ["record_malformed"] * 4


async def test_records_that_end_within_one_cost_only_that_one() -> None:
    with capture_logs() as logs:
        batches, dropped = await made(Tick("w1", 5, 1e9, records=pack(record("a"), record("b"))[:-1]))
    assert ids(batches["refunds"].pairs) == [("matched", "a")]
    assert dropped == [("", "malformed", 1)]
    assert [entry["event"] for entry in logs] == ["records_unreadable"]


async def test_no_content_of_a_bad_record_is_logged() -> None:
    bad = record("x")._replace(at="hunter2")  # type: ignore[arg-type]  # on purpose
    with capture_logs() as logs:
        await made(tick(bad))
    assert "hunter2" not in str(logs)


async def test_the_loop_has_its_turn_between_records(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(batching, "SLICE_SECONDS", -1.0)
    turns = 0

    async def watch() -> None:
        nonlocal turns
        while True:
            turns += 1
            await asyncio.sleep(0)

    async with asyncio.TaskGroup() as tasks:
        watching = tasks.create_task(watch())
        batches, _ = await made(tick(*(record(str(n)) for n in range(200))))
        watching.cancel()
    assert len(batches["refunds"].pairs) == 200
    assert turns >= 200
