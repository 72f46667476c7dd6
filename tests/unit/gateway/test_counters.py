"""Counts between two ticks: nothing counted twice, nothing forgotten while it is used."""

from proxy.gateway.counters import Counters, histogram
from proxy.model import measures
from proxy.model.words import Arm, Mode

EVIDENCE = ("refunds", "v1", "canary", "1")


def test_a_drain_tells_what_happened_since_the_last_one() -> None:
    counters = Counters()
    tally = counters.tally("refunds", Arm.AGENT, Mode.CANARY, EVIDENCE)
    slots = [tally.begin(), tally.begin()]
    tally.answered(200, 0.02, 0.01)
    tally.answered(200, 200.0, 0.0)
    tally.outcome(slots[0], failed=False, slow=False)
    tally.outcome(slots[1], failed=True, slow=True)
    counters.fates[("refunds", "mirrored")] += 1
    told, histograms, _ = counters.drain()
    assert told["requests_total"] == {("refunds", "agent", "canary", "200"): 2}
    slot = str(slots[0])
    assert told["outcomes"] == {
        (*EVIDENCE, "agent", "drawn", ""): 2,
        (*EVIDENCE, "agent", "arrived", slot): 2,
        **{(*EVIDENCE, "agent", result, slot): 1 for result in ("ok", "failed", "slow")},
    }
    assert told["shadow_total"] == {("refunds", "mirrored"): 1}
    [row] = histograms["request_duration_seconds"].values()
    assert (row[0], sum(row[1:]), row[-1]) == (200.02, 2, 1)
    assert counters.drain() == ({}, {}, [])


def test_a_tally_is_kept_while_a_request_or_a_count_needs_it() -> None:
    counters = Counters()
    tally = counters.tally("refunds", Arm.AGENT, Mode.CANARY, EVIDENCE)
    slot = tally.begin()
    counters.drain()
    counters.retain(set())
    assert counters.tally("refunds", Arm.AGENT, Mode.CANARY, EVIDENCE) is tally
    tally.open = 0
    tally.outcome(slot, failed=False, slow=False)
    counters.retain(set())
    assert counters.tally("refunds", Arm.AGENT, Mode.CANARY, EVIDENCE) is tally
    counters.drain()
    counters.retain(set())
    assert counters.tally("refunds", Arm.AGENT, Mode.CANARY, EVIDENCE) is not tally


def test_a_fallback_that_outlives_its_stage_is_counted() -> None:
    counters = Counters()
    canary = counters.tally("refunds", Arm.AGENT, Mode.CANARY, EVIDENCE)
    fallback = counters.tally("refunds", Arm.LEGACY, Mode.FALLBACK, EVIDENCE)
    canary.open = 1
    counters.retain(set())  # the next stage begins while the agent still has the request
    canary.open = 0
    fallback.answered(200, 0.02, 0.02)
    assert counters.drain()[0]["requests_total"] == {("refunds", "legacy", "fallback", "200"): 1}


def test_a_record_that_is_dropped_is_counted_with_its_reason() -> None:
    counters = Counters()
    counters.record("refunds", (), 5 << 20)
    assert counters.drain()[0]["pairs_dropped_total"] == {("refunds", "too_large"): 1}


def test_a_duration_on_a_bound_belongs_below_it() -> None:
    """Prometheus' buckets are `le`: less or equal."""
    row = histogram([measures.BOUNDS[0], measures.BOUNDS[1]])
    assert row[1:3] == [1, 1]
