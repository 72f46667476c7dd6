"""Decisions in any order, twice, before their pair and after its time: what they make of pairs, and of the evidence."""

import asyncio
from collections.abc import AsyncIterator, Sequence
from pathlib import Path
from typing import Any

import orjson
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from redis import asyncio as aredis
from structlog.testing import capture_logs

from proxy.model.errors import StoreUnavailableError
from proxy.model.records import Callback, Decided
from proxy.model.rollouts import Evidence
from proxy.model.snapshot import SealingKey
from proxy.outcomes.late import ref
from proxy.storage import keys
from proxy.storage.connection import connect
from proxy.storage.late import EARLY_SECONDS, LateStore
from proxy.storage.scripts import MAX_ALIKE
from proxy.telemetry.families import OUTCOMES_WAITING, PAIRS, PENDING
from tests.unit.control.late_world import DAY, World
from tests.valkey import Valkey

MATCHED = Evidence(matched=1, decisions={("approve", "approve"): 1})
KEY = "MDEyMzQ1Njc4OTAxMjM0NTY3ODkwMTIzNDU2Nzg5MDE="


@pytest.fixture
async def redis(valkey: Valkey) -> AsyncIterator[Any]:
    client = connect(valkey.url, timeout=2.0)
    assert isinstance(client, aredis.Redis)
    yield client
    await client.aclose()


@pytest.fixture
async def world(redis: Any) -> World:
    return World(redis)


def gone(evidence: Evidence) -> Evidence:
    """Without the counts that are 0 again."""
    return Evidence(
        matched=evidence.matched,
        mismatched=evidence.mismatched,
        incomparable=evidence.incomparable,
        agent_yes=evidence.agent_yes,
        agent_no=evidence.agent_no,
        decisions={cell: n for cell, n in evidence.decisions.items() if n},
        segments={name: counts for name, counts in evidence.segments.items() if any(counts)},
    )


async def test_an_open_pair_is_no_evidence_until_its_human_decides(world: World) -> None:
    await world.open()
    await world.join()
    (pair,) = await world.shown()
    assert (pair["verdict"], pair["agent"]["decision"]) == ("pending", "approve")
    assert "not decided" in pair["verdict_reason"]
    assert await world.evidence() == Evidence()
    await world.tell(decision="approve", at=5.0, by="ana")
    await world.join()
    (pair,) = await world.shown()
    assert (pair["verdict"], pair["legacy"]["decision"], pair["differences"]) == ("matched", "approve", [])
    (revision,) = pair["revisions"]
    assert revision == {
        "decision": "approve", "decided_at": "2027-01-15T08:00:05.000Z", "by": "ana", "via": "api",
        "received_at": "2027-01-15T08:00:00.000Z",
    }  # fmt: skip
    assert await world.evidence() == MATCHED
    assert (await world.waiting(), world.results()) == (0, {"matched": 1})
    assert await world.redis.zcard(keys.pending("refunds")) == 0
    assert await world.redis.xlen(keys.verdict("refunds", "matched")) == 1


async def test_a_human_who_decides_otherwise_is_a_mismatch(world: World) -> None:
    await world.open()
    await world.tell(decision="deny")
    await world.join()
    (pair,) = await world.shown()
    assert (pair["verdict"], pair["differences"]) == (
        "mismatched", [{"path": "$.d", "legacy": "deny", "agent": "approve"}],
    )  # fmt: skip
    assert await world.evidence() == Evidence(mismatched=1, decisions={("deny", "approve"): 1})


async def test_what_is_counted_of_a_pair_is_counted_of_a_late_one(redis: Any) -> None:
    gates = {"segments": {"by": "$.kind"}, "direction": {"yes": ["approve"]}}
    world = World(redis, gates=gates)
    record = world.record("c1", "approve")._replace(body=b'{"kind": "late"}')
    await world.write(record)
    await world.tell(decision="deny", at=1)
    await world.join()
    seen = Evidence(mismatched=1, agent_yes=1, segments={"late": (0, 1)}, decisions={("deny", "approve"): 1})
    assert await world.evidence() == seen
    await world.tell(decision="approve", at=2)
    await world.join()
    seen = Evidence(matched=1, segments={"late": (1, 0)}, decisions={("approve", "approve"): 1})
    assert gone(await world.evidence()) == seen


async def test_a_revision_takes_the_place_of_what_was_decided_before(world: World) -> None:
    await world.open()
    await world.tell(decision="deny", at=10)
    await world.join()
    await world.tell(decision="approve", at=20)
    await world.join()
    (pair,) = await world.shown()
    assert (pair["verdict"], [each["decision"] for each in pair["revisions"]]) == ("matched", ["deny", "approve"])
    assert gone(await world.evidence()) == MATCHED
    assert world.results() == {"mismatched": 1, "revised": 1}
    assert world.metrics._counters[PAIRS.name] == {("refunds", "mismatched"): 1}


async def test_what_was_decided_before_but_comes_later_changes_nothing(world: World) -> None:
    await world.open()
    await world.tell(decision="approve", at=20)
    await world.join()
    await world.tell(decision="deny", at=10)
    await world.join()
    (pair,) = await world.shown()
    assert (pair["verdict"], [each["decision"] for each in pair["revisions"]]) == ("matched", ["deny", "approve"])
    assert gone(await world.evidence()) == MATCHED


async def test_decided_at_the_same_moment_the_last_received_counts(world: World) -> None:
    await world.open()
    for decision in ("deny", "approve"):
        world.clock.advance(1)
        await world.tell(decision=decision, at=0)
    await world.join()
    assert await world.verdicts() == ["matched"]


async def test_the_same_decision_twice_counts_once(world: World) -> None:
    await world.open()
    for _ in range(2):
        await world.tell(at=10)
    await world.join()
    await world.tell(at=10)
    await world.join()
    (pair,) = await world.shown()
    assert len(pair["revisions"]) == 1
    assert await world.evidence() == MATCHED
    assert world.results() == {"matched": 1, "duplicate": 2}


async def test_one_that_confirms_is_kept_and_says_nothing_new(world: World) -> None:
    await world.open()
    await world.tell(at=10)
    await world.tell(at=20)
    await world.join()
    (pair,) = await world.shown()
    assert len(pair["revisions"]) == 2
    assert world.results() == {"matched": 1, "duplicate": 1}
    assert await world.evidence() == MATCHED


async def test_a_pair_keeps_its_latest_revisions_only(world: World) -> None:
    await world.open()
    for at in range(60, 0, -1):
        await world.tell(decision=f"d{at}", at=at)
    await world.join()
    (pair,) = await world.shown()
    assert [each["decision"] for each in pair["revisions"]] == [f"d{at}" for at in range(11, 61)]
    assert world.results() == {"mismatched": 1, "revised": 49, "over_limit": 10}


async def test_a_decision_may_come_before_its_pair(world: World) -> None:
    await world.tell(decision="deny", at=1)
    await world.tell(decision="approve", at=2)
    await world.join()
    assert (await world.waiting(), world.results()) == (0, {"early": 2})
    await world.open()
    assert await world.waiting() == 2
    await world.join()
    assert await world.verdicts() == ["matched"]
    assert gone(await world.evidence()) == MATCHED
    world.clock.advance(EARLY_SECONDS + 1)
    await world.join()
    assert world.results() == {"early": 2, "mismatched": 1, "revised": 1}


async def test_one_whose_pair_never_comes_is_given_up(world: World) -> None:
    await world.tell("nobody")
    await world.join()
    world.clock.advance(EARLY_SECONDS - 1)
    await world.join()
    assert world.results() == {"early": 1}
    world.clock.advance(2)
    await world.join()
    assert world.results() == {"early": 1, "unmatched": 1}
    assert [key async for key in world.redis.scan_iter(match="*early*")] == []


async def test_only_so_many_wait_for_one_pair(world: World) -> None:
    for at in range(25):
        await world.tell(at=at)
    await world.join()
    assert world.results() == {"early": 20, "over_limit": 5}


async def test_no_decision_in_time_is_expired_and_no_evidence(world: World) -> None:
    await world.open()
    world.clock.advance(14 * DAY - 1)
    await world.join()
    assert await world.verdicts() == ["pending"]
    world.clock.advance(2)
    await world.join()
    assert await world.verdicts() == ["expired"]
    assert await world.evidence() == Evidence()
    assert world.results() == {}
    assert world.metrics._counters[PAIRS.name] == {("refunds", "expired"): 1}
    await world.tell(at=14 * DAY)
    await world.join()
    (pair,) = await world.shown()
    assert (pair["verdict"], pair["legacy"]["decision"], len(pair["revisions"])) == ("expired", None, 1)
    assert (await world.evidence(), world.results()) == (Evidence(), {"expired": 1})


async def test_a_revision_may_come_after_the_time_within_which_one_decided(world: World) -> None:
    await world.open()
    await world.tell(decision="deny", at=1)
    await world.join()
    world.clock.advance(20 * DAY)
    await world.tell(decision="approve", at=19 * DAY)
    await world.join()
    assert await world.verdicts() == ["matched"]


async def test_what_came_in_time_counts_however_late_it_is_joined(world: World) -> None:
    await world.open()
    await world.tell(at=1)
    world.clock.advance(15 * DAY)
    # Somebody closed it as expired, before this decision was read.
    await world.joiner._expire("refunds")
    assert await world.verdicts() == ["expired"]
    await world.join()
    assert (await world.verdicts(), await world.evidence()) == (["matched"], MATCHED)


async def test_a_request_sent_twice_is_one_case_and_both_pairs_close(world: World) -> None:
    await world.open(agent="approve", request_id="r1")
    await world.open(agent="deny", request_id="r2")
    await world.tell(decision="approve")
    await world.join()
    assert await world.verdicts() == ["matched", "mismatched"]
    seen = Evidence(matched=1, mismatched=1, decisions={("approve", "approve"): 1, ("approve", "deny"): 1})
    assert await world.evidence() == seen
    assert await world.redis.hget(keys.totals("refunds", "v1", 1, "shadow"), "decisions") == b"2"


async def test_a_pair_that_comes_when_its_case_is_decided_is_decided_too(world: World) -> None:
    await world.open(agent="approve", request_id="r1")
    await world.tell(decision="deny", at=1)
    await world.tell(decision="approve", at=2)
    await world.join()
    await world.open(agent="deny", request_id="r2")
    await world.join()
    assert await world.verdicts() == ["matched", "mismatched"]
    assert [len(pair["revisions"]) for pair in await world.shown()] == [2, 2]
    assert world.results() == {"mismatched": 2, "revised": 1}
    assert await world.waiting() == 0


async def test_a_case_that_every_pair_has_fills_no_inbox(world: World) -> None:
    """As with a key that names no case at all: what waits to be joined must be decisions."""
    many = [world.record("accepted", "approve", request_id=f"r{number}") for number in range(6 * MAX_ALIKE)]
    await world.write(*many[: 3 * MAX_ALIKE])
    assert await world.waiting() == 0
    await world.tell("accepted", "approve")
    await world.join()
    assert (await world.evidence()).matched == MAX_ALIKE
    await world.write(*many[3 * MAX_ALIKE :])
    assert await world.waiting() == 0


async def test_a_pair_is_found_by_its_request_too(world: World) -> None:
    await world.open(case=None, request_id="r-77")
    assert "only the request's id" in (await world.shown())[0]["verdict_reason"]
    assert await world.intake.take([Decided("refunds", "request", "r-77", "approve")]) == [""]
    await world.join()
    assert await world.verdicts() == ["matched"]


async def test_a_case_that_is_a_number_is_its_digits(world: World) -> None:
    await world.open(case=4711)
    await world.tell("4711")
    await world.join()
    assert await world.verdicts() == ["matched"]


async def test_where_legacy_alone_was_asked_the_decision_is_kept(world: World) -> None:
    await world.open(agent=None)
    await world.tell(decision="deny")
    await world.join()
    (pair,) = await world.shown()
    assert (pair["verdict"], pair["legacy"]["decision"]) == (None, "deny")
    assert (await world.evidence(), world.results()) == (Evidence(), {"kept": 1})


async def test_where_legacy_alone_was_asked_nothing_expires_as_a_verdict(world: World) -> None:
    await world.open(agent=None)
    world.clock.advance(15 * DAY)
    await world.join()
    assert (await world.verdicts(), world.metrics._counters[PAIRS.name]) == ([None], {})
    assert await world.redis.zcard(keys.pending("refunds")) == 0


async def test_an_agent_that_failed_cannot_be_compared_but_the_decision_is_kept(world: World) -> None:
    failed = world.record("c1", "approve")
    assert failed.agent is not None
    await world.write(failed._replace(agent=failed.agent._replace(status=503)))
    await world.tell(decision="deny")
    await world.join()
    (pair,) = await world.shown()
    assert (pair["verdict"], pair["legacy"]["decision"]) == ("incomparable", "deny")
    assert "503" in pair["verdict_reason"]
    assert await world.evidence() == Evidence(incomparable=1)


async def test_a_decision_that_may_not_be_kept_is_not_and_cannot_be_compared(redis: Any) -> None:
    world = World(redis, record={"redact": ["d"]})
    await world.open()
    await world.tell(decision="approve-4711")
    await world.join()
    (pair,) = await world.shown()
    assert (pair["verdict"], pair["legacy"]["decision"]) == ("incomparable", "[redacted]")
    assert "4711" not in orjson.dumps(pair).decode()


async def test_labels_hold_for_late_decisions_too(redis: Any) -> None:
    world = World(redis, compare={"decision": "$.d", "labels": {"approve": ["approved", "ok"]}})
    await world.open(agent="ok")
    await world.tell(decision="approved")
    await world.join()
    assert (await world.verdicts(), await world.evidence()) == (["matched"], MATCHED)


async def test_a_callback_closes_the_pair(world: World) -> None:
    await world.open()
    body = b'{"case": "c1", "result": "approve", "note": "private"}'
    await world.write(Callback("refunds", world.clock.now() + 3, "r9", body)._replace(request_id=b"r9"))  # type: ignore[arg-type]  # packed
    await world.join()
    (pair,) = await world.shown()
    assert (pair["verdict"], pair["revisions"][0]["via"]) == ("matched", "callback")


@pytest.mark.parametrize(
    "body",
    [b"", b"no json", b'{"case": "c1"}', b'{"result": "approve"}', b'{"case": ["c1"], "result": "x"}',
     b'{"case": "c1", "result": "%s"}' % (b"x" * 5000)],
)  # fmt: skip
async def test_a_callback_that_says_nothing_is_counted_and_not_quoted(world: World, body: bytes) -> None:
    with capture_logs() as logs:
        await world.write(("refunds", world.clock.now(), b"r9", body))
    assert world.results() == {"malformed": 1}
    assert [line["event"] for line in logs] == ["callback_malformed"]
    assert "c1" not in str(logs)
    assert await world.waiting() == 0


async def test_a_pair_that_is_gone_takes_nothing(world: World) -> None:
    await world.open()
    await world.redis.xtrim(keys.pairs("refunds"), maxlen=0)
    await world.tell()
    await world.join()
    assert (await world.evidence(), world.results(), await world.waiting()) == (Evidence(), {"gone": 1}, 0)
    assert await world.redis.zcard(keys.pending("refunds")) == 0


async def test_a_pair_that_was_closed_and_erased_takes_nothing_either(world: World) -> None:
    await world.open()
    await world.tell(at=1)
    await world.join()
    (entry, _), *_ = await world.redis.xrange(keys.pairs("refunds"))
    await world.redis.xdel(keys.pairs("refunds"), entry)
    await world.tell(decision="deny", at=2)
    await world.join()
    assert await world.evidence() == MATCHED
    assert await world.redis.exists(keys.closed("refunds", entry.decode())) == 0


async def test_garbage_in_the_inbox_is_counted_and_goes(world: World) -> None:
    await world.open()
    for garbage in (b"banana", b'["only", "two"]', b""):
        await world.redis.xadd(keys.outcomes("refunds"), {"outcome": garbage})
    await world.tell()
    await world.join()
    assert (await world.verdicts(), world.results()) == (["matched"], {"malformed": 3, "matched": 1})


async def test_what_does_not_open_waits_and_keeps_nothing_else(world: World, monkeypatch: Any) -> None:
    monkeypatch.setattr("proxy.control.joining.MAX_JOINED", 2)
    await world.open()
    ours, theirs = SealingKey("ours", KEY), SealingKey("theirs", KEY[::-1][1:] + "=")
    world.sealer.use([theirs])
    for at in range(3):
        await world.tell(decision="deny", at=at)
    world.sealer.use([ours])
    await world.tell(decision="approve", at=10)
    with capture_logs() as logs:
        for _ in range(3):
            await world.join()
    assert (await world.verdicts(), await world.waiting()) == (["matched"], 3)
    assert [line["event"] for line in logs] == ["decisions_not_joined"]
    world.sealer.use([ours, theirs])
    for _ in range(3):
        await world.join()
    assert (await world.waiting(), len((await world.shown())[0]["revisions"])) == (0, 4)


async def test_everything_at_rest_is_sealed(world: World) -> None:
    world.sealer.use([SealingKey("k1", KEY)])
    await world.tell("early-4711", "approve-4711", by="ana-4711")
    await world.join()
    await world.open("late-4711", "approve-4711")
    await world.tell("late-4711", "deny-4711", by="ana-4711")
    await world.join()
    found = b""
    async for key in world.redis.scan_iter():
        match await world.redis.type(key):
            case b"string":
                found += await world.redis.get(key)
            case b"list":
                found += b"".join(await world.redis.lrange(key, 0, -1))
            case b"stream":
                found += repr(await world.redis.xrange(key)).encode()
    assert await world.verdicts() == ["mismatched"]
    # (The labels of decisions are counted by name.)
    for secret in (b"early-4711", b"late-4711", b"ana-4711"):
        assert secret not in found


async def test_it_joins_only_where_it_leads_and_shows_what_waits(world: World) -> None:
    await world.open()
    await world.tell()
    world.leads = False
    await world.join()
    assert await world.waiting() == 1
    assert world.metrics._gauges[PENDING.name] == {}
    world.leads = True
    await world.join()
    gauges = world.metrics._gauges
    assert (gauges[PENDING.name], gauges[OUTCOMES_WAITING.name]) == ({("refunds",): 1}, {("refunds",): 1})
    await world.join()
    assert gauges[PENDING.name] == {("refunds",): 0}
    world.leads = False
    await world.join()
    assert gauges[PENDING.name] == {}


class Dies(LateStore):
    """A store whose user dies at the n-th call, before it is made or after. `calls` says how many were made."""

    def __init__(self, redis: Any, at: int, *, after: bool) -> None:
        super().__init__(redis)
        self.at, self.after, self.calls = at, after, 0

    def __getattribute__(self, name: str) -> Any:
        found = super().__getattribute__(name)
        if name.startswith("_") or not asyncio.iscoroutinefunction(found):
            return found

        async def call(*arguments: Any) -> Any:
            self.calls += 1
            if self.calls == self.at and not self.after:
                raise StoreUnavailableError("killed")
            answer = await found(*arguments)
            if self.calls == self.at:
                raise StoreUnavailableError("killed")
            return answer

        return call


@pytest.mark.parametrize("after", [False, True])
@pytest.mark.parametrize("step", range(1, 9))
async def test_who_joins_may_die_between_any_two_steps(redis: Any, step: int, after: bool) -> None:
    world = World(redis)
    await world.tell("early", "deny", at=1)
    await world.open("c1", request_id="a")
    await world.open("c2", "deny", request_id="b")
    await world.open("old", request_id="c")
    await world.redis.zadd(keys.pending("refunds"), {(await redis.xrevrange(keys.pairs("refunds"), count=1))[0][0]: 1})
    for at, decision in ((3, "approve"), (2, "deny")):
        await world.tell("c1", decision, at=at)
        await world.tell("c2", decision, at=at)
    _, dying = world.replica(Dies(redis, step, after=after))
    with pytest.raises(StoreUnavailableError):
        await dying.round()
    _, heir = world.replica()
    for _ in range(2):
        await heir.round()
    assert await world.verdicts() == ["matched", "mismatched", "expired"]
    seen = Evidence(matched=1, mismatched=1, decisions={("approve", "approve"): 1, ("approve", "deny"): 1})
    assert gone(await world.evidence()) == seen
    assert await redis.llen(keys.early("refunds", ref("s", "case", "early"))) == 1


async def test_two_that_join_at_once_do_it_once(world: World) -> None:
    for n in range(30):
        await world.open(f"c{n}", request_id=f"r{n}")
        await world.tell(f"c{n}", "deny", at=1)
        await world.tell(f"c{n}", "approve", at=2)
    others = [world.replica() for _ in range(3)]
    await asyncio.gather(*(joiner.round() for _, joiner in others))
    await world.join()
    assert set(await world.verdicts()) == {"matched"}
    assert gone(await world.evidence()) == Evidence(matched=30, decisions={("approve", "approve"): 30})
    assert await world.waiting() == 0


# Deliveries: (case, decision, decided_at). One decision for each moment, so that their order is told by it alone.
DECIDED = st.dictionaries(
    st.tuples(st.sampled_from("ab"), st.integers(0, 8)), st.sampled_from(["approve", "deny"]), min_size=1, max_size=8
)
STEPS = ("open", "join")


@st.composite
def deliveries(draw: st.DrawFn) -> list[Any]:
    """Each decision once or twice, three pairs of two cases, rounds anywhere; in any order."""
    decided = [(case, decision, at) for (case, at), decision in draw(DECIDED).items()]
    again = draw(st.lists(st.sampled_from(decided), max_size=4))
    opened = [("open", "a", "approve"), ("open", "a", "deny"), ("open", "b", "approve")]
    rounds = [("join",)] * draw(st.integers(0, 5))
    return draw(st.permutations([*decided, *again, *opened, *rounds]))


@settings(max_examples=40, deadline=None)
@given(order=deliveries())
def test_any_order_of_deliveries_comes_to_the_same(order: list[Any], request: pytest.FixtureRequest) -> None:
    url = request.getfixturevalue("server")
    asyncio.run(check_order(url, order))


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory) -> Any:
    running = Valkey(Path(tmp_path_factory.mktemp("data")))
    running.start()
    yield running.url
    running.kill()


async def check_order(url: str, order: Sequence[Any]) -> None:
    redis = connect(url, timeout=2.0)
    assert isinstance(redis, aredis.Redis)
    try:
        await redis.flushall()
        world = World(redis)
        last: dict[str, tuple[int, str]] = {}
        for number, step in enumerate(order):
            world.clock.advance(0.01)
            match step:
                case ("join",):
                    await world.join()
                case ("open", case, agent):
                    await world.open(case, agent, request_id=f"r{number}")
                case (case, decision, at):
                    await world.tell(case, decision, at=at)
                    last[case] = max(last.get(case, (-1, "")), (at, decision))
        for _ in range(2):
            await world.join()
        expected: dict[tuple[str, str], int] = {}
        for pair in await world.shown():
            case = pair["legacy"]["body"]["id"]
            agent = pair["agent"]["decision"]
            if case not in last:
                assert pair["verdict"] == "pending"
                continue
            decision = last[case][1]
            assert pair["verdict"] == ("matched" if decision == agent else "mismatched")
            assert pair["legacy"]["decision"] == decision
            times = [each["decided_at"] for each in pair["revisions"]]
            assert times == sorted(set(times))
            expected[decision, agent] = expected.get((decision, agent), 0) + 1
        same = sum(n for (ours, theirs), n in expected.items() if ours == theirs)
        seen = Evidence(matched=same, mismatched=sum(expected.values()) - same, decisions=expected)
        assert gone(await world.evidence()) == seen
    finally:
        await redis.aclose()
