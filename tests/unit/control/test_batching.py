import asyncio
from collections.abc import Sequence
from typing import Any

import orjson
import pytest
from structlog.testing import capture_logs

from proxy.config.rollout_schema import Rollout
from proxy.control import batching
from proxy.control.batching import RouteRules, make_batches, route_rules
from proxy.model.measures import OUTCOMES, Result
from proxy.model.records import Outcome, Record
from proxy.model.rollouts import ArmCount, Batch, Evidence, Kept
from proxy.model.tick import Labels, Tick, pack_buckets
from proxy.storage.packing import unpack
from proxy.storage.sealing import Sealer
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


def outcome(arm: str, result: str, slot: str = "", *, of: tuple[str, ...] = ("refunds", "v1", "canary", "1")) -> Labels:
    return (*of, arm, result, slot)


def tick(*records: Any, outcomes: dict[Labels, int] | None = None, users: dict[Labels, bytes] | None = None) -> Tick:
    counters = {OUTCOMES.name: outcomes} if outcomes else {}
    return Tick("w1", 5, 1e9, counters, records=pack(*records), users=users or {})


async def made(tick: Tick, rules: dict[str, RouteRules] = RULES) -> tuple[dict[str, Batch], list[tuple[str, str, int]]]:
    """The batches by route, and what was told to be dropped."""
    dropped: list[tuple[str, str, int]] = []
    batches = await make_batches(tick, rules, lambda *told: dropped.append(told), Sealer())
    by_route = {batch.route: batch for batch in batches}
    assert len(by_route) == len(batches)
    return by_route, dropped


def ids(pairs: Sequence[Kept]) -> list[tuple[str | None, str]]:
    return [(pair.verdict, orjson.loads(unpack(pair.document))["request_id"]) for pair in pairs]


async def test_a_tick_of_nothing_is_no_batch() -> None:
    assert await made(tick()) == ({}, [])


async def test_records_become_pairs_and_their_verdicts_evidence() -> None:
    batches, dropped = await made(tick(record("a"), record("b", agent="no"), record("c", agent=None), record("d")))
    batch = batches["refunds"]
    assert (batch.source, batch.seq, batch.max_pairs) == ("w1", 5, 300)
    assert ids(batch.pairs) == [("matched", "a"), ("mismatched", "b"), (None, "c"), ("matched", "d")]
    decisions = {("yes", "yes"): 2, ("yes", "no"): 1}
    assert batch.evidence == {
        ("v1", 1, "canary"): Evidence(matched=2, mismatched=1, decisions=decisions, fields={"$.d": (1, 0)})
    }
    assert dropped == []


async def test_what_the_agent_said_twice_and_where_it_differs_is_counted() -> None:
    yes, no = (Outcome(200, 0.01, body=b'{"d": "%b"}' % said) for said in (b"yes", b"no"))
    failed = Outcome(0, 0.01, "timeout")
    records = [
        record(name)._replace(repeat=repeat) for name, repeat in zip("abcd", (yes, yes, no, failed), strict=True)
    ]
    batches, dropped = await made(tick(*records, record("e", agent="no")))
    evidence = batches["refunds"].evidence["v1", 1, "canary"]
    assert (evidence.matched, evidence.mismatched, evidence.repeats, evidence.repeats_alike) == (4, 1, 3, 2)
    assert evidence.fields == {"$.d": (1, 1)}
    assert dropped == []


async def test_outcomes_become_evidence_and_failed_ones_are_requests_too() -> None:
    ended = (Result.OK, Result.FAILED, Result.SLOW)
    outcomes = {
        outcome(arm, result, "77"): 10**power
        for power, (arm, result) in enumerate((arm, result) for arm in ("legacy", "agent") for result in ended)
    }
    batches, _ = await made(tick(outcomes=outcomes))
    assert batches["refunds"].evidence == {
        ("v1", 1, "canary"): Evidence(ArmCount(11, 10, 100), ArmCount(11_000, 10_000, 100_000))
    }


async def test_the_slots_of_a_tick_are_added_up() -> None:
    outcomes = {outcome("agent", "ok", str(slot)): 10**place for place, slot in enumerate((76, 77, 78))}
    batches, _ = await made(tick(outcomes=outcomes))
    assert batches["refunds"].evidence == {("v1", 1, "canary"): Evidence(agent=ArmCount(111))}


async def test_a_fallback_is_no_control_and_who_was_drawn_is_counted_apart() -> None:
    outcomes = {
        outcome("legacy", Result.DRAWN): 90,
        outcome("legacy", Result.NO_KEY): 7,
        outcome("legacy", Result.FALLBACK): 2,
        outcome("agent", Result.DRAWN): 10,
        outcome("agent", Result.ESCALATED): 3,
    }
    batches, _ = await made(tick(outcomes=outcomes))
    assert batches["refunds"].evidence == {
        ("v1", 1, "canary"): Evidence(escalated=3, drawn=100, no_key=7, served=10, fallbacks=2)
    }


async def test_what_has_not_ended_or_is_withdrawn_is_no_evidence() -> None:
    outcomes = {
        outcome(arm, result, "77"): 5 for arm in ("legacy", "agent") for result in (Result.ARRIVED, Result.WITHDRAWN)
    }
    with capture_logs() as logs:
        assert await made(tick(outcomes=outcomes)) == ({}, [])
    assert logs == []


async def test_a_tick_of_an_older_crossfade_counts() -> None:
    batches, _ = await made(tick(outcomes={outcome("agent", "failed", ""): 2}))
    assert batches["refunds"].evidence == {("v1", 1, "canary"): Evidence(agent=ArmCount(2, 2))}


async def test_users_are_told_by_stage_weight_and_arm() -> None:
    def at(weight: str, arm: str, route: str = "refunds") -> Labels:
        return (route, "v1", "canary", "1", weight, arm)

    users = {
        at("5000", "agent"): pack_buckets([7, 99_999]),
        at("5000", "legacy"): pack_buckets([70_000]),
        at("10000", "agent"): pack_buckets([9]),
        at("0", "agent"): b"",
        at("5000", "agent", "claims"): pack_buckets([1]),
        at("5000", "agent", "gone"): pack_buckets([1]),
    }
    batches, dropped = await made(tick(users=users))
    assert batches["refunds"].users == {
        ("v1", 1, "canary", 5_000): (frozenset({70_000}), frozenset({7, 99_999})),
        ("v1", 1, "canary", 10_000): (frozenset(), frozenset({9})),
    }
    assert batches["claims"].users == {("v1", 1, "canary", 5_000): (frozenset(), frozenset({1}))}
    assert (set(batches), dropped) == ({"refunds", "claims"}, [])


async def test_users_that_cannot_be_read_are_told_and_left_out() -> None:
    good = ("refunds", "v1", "canary", "1", "5000", "agent")
    users: dict[Labels, Any] = {
        good: pack_buckets([7]),
        good[:-1]: pack_buckets([7]),
        (*good[:3], "one", *good[4:]): pack_buckets([7]),
        (*good[:4], "100001", "agent"): pack_buckets([7]),
        (*good[:5], "both"): pack_buckets([7]),
        (*good[:4], "6000", "agent"): b"\x00\x00",
        (*good[:4], "7000", "agent"): pack_buckets([100_000]),
    }
    with capture_logs() as logs:
        batches, _ = await made(tick(users=users))
    assert batches["refunds"].users == {("v1", 1, "canary", 5_000): (frozenset(), frozenset({7}))}
    assert [entry["event"] for entry in logs] == ["users_malformed"] * 6


GATED = Rollout.model_validate(
    {
        "agent": "a",
        "version": "v1",
        "salt": "s",
        "compare": {"decision": "$.d"},
        "gates": {"segments": {"by": "$.type"}, "direction": {"yes": ["yes"]}},
    }
)


async def test_pairs_are_counted_by_segment_and_direction() -> None:
    card, cash = (b'{"type": "%s"}' % kind for kind in (b"card", b"cash"))
    records = [
        record("a")._replace(body=card),
        record("b", agent="no")._replace(body=card),
        record("c", agent="no")._replace(body=cash),
        record("d")._replace(body=None),
        record("e", agent=None)._replace(body=card),
        record("f", agent="yes")._replace(body=card, agent=Outcome(500, 0.1)),
    ]
    batches, _ = await made(tick(*records), {"refunds": route_rules(GATED)})
    assert batches["refunds"].evidence == {
        ("v1", 1, "canary"): Evidence(
            matched=2,
            mismatched=2,
            incomparable=1,
            agent_no=2,
            segments={"card": (1, 1), "cash": (0, 1), "(none)": (1, 0)},
            decisions={("yes", "yes"): 2, ("yes", "no"): 2},
            fields={"$.d": (2, 0)},
        )
    }


async def test_names_in_one_tick_are_bounded() -> None:
    records = [record(str(n))._replace(body=b'{"type": "t%d"}' % n) for n in range(150)]
    batches, _ = await made(tick(*records), {"refunds": route_rules(GATED)})
    (evidence,) = batches["refunds"].evidence.values()
    assert len(evidence.segments) == 101
    assert evidence.segments["(other)"] == (50, 0)
    assert evidence.matched == 150


async def test_routes_stages_and_epochs_are_kept_apart() -> None:
    outcomes = {
        outcome("legacy", "ok", of=("refunds", "v1", "canary", "1")): 1,
        outcome("legacy", "ok", of=("refunds", "v1", "canary", "2")): 2,
        outcome("legacy", "ok", of=("refunds", "v2", "shadow", "1")): 4,
        outcome("legacy", "ok", of=("claims", "v1", "canary", "1")): 8,
    }
    decisions = {("yes", "yes"): 1}
    batches, _ = await made(tick(record("a", stage="shadow"), record("b", route="claims"), outcomes=outcomes))
    assert batches["refunds"].evidence == {
        ("v1", 1, "canary"): Evidence(ArmCount(1)),
        ("v1", 2, "canary"): Evidence(ArmCount(2)),
        ("v2", 1, "shadow"): Evidence(ArmCount(4)),
        ("v1", 1, "shadow"): Evidence(matched=1, decisions=decisions),
    }
    assert batches["claims"].evidence == {("v1", 1, "canary"): Evidence(ArmCount(8), matched=1, decisions=decisions)}


async def test_what_is_of_no_known_route_is_left_out_and_its_records_counted() -> None:
    outcomes = {outcome("legacy", "ok", of=("gone", "v1", "canary", "1")): 1}
    batches, dropped = await made(tick(record("a", route="gone"), record("b"), outcomes=outcomes))
    assert set(batches) == {"refunds"}
    assert dropped == [("gone", "no_route", 1)]


async def test_what_cannot_be_read_is_counted_and_costs_nothing_else() -> None:
    wrong_time = record("x")._replace(at="yesterday")  # type: ignore[arg-type]  # on purpose
    outcomes: dict[Labels, int] = {
        outcome("legacy", "ok", of=("refunds", "v1", "canary", "one")): 1,
        outcome("both", "ok"): 1,
        outcome("agent", "happy"): 1,
        outcome("agent", "no_key"): 1,
        outcome("agent", "ok", "soon"): 1,
        ("refunds",): 1,
    }
    with capture_logs() as logs:
        batches, dropped = await made(tick(record("a"), None, [1, 2], {}, wrong_time, record("b"), outcomes=outcomes))
    assert ids(batches["refunds"].pairs) == [("matched", "a"), ("matched", "b")]
    assert batches["refunds"].evidence == {("v1", 1, "canary"): Evidence(matched=2, decisions={("yes", "yes"): 2})}
    assert dropped == [("", "malformed", 1)] * 3 + [("refunds", "malformed", 1)]
    assert [entry["event"] for entry in logs] == ["outcomes_malformed"] * 6 + ["record_malformed"] * 4


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
