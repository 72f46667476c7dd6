"""The ledger of slots: what goes in as rows of additions, and which stretches come out when.

The present slot is 1000 at first. `Arrived`'s fields: arrived, ended, failed, slow, of the agent and of legacy.
"""

from itertools import pairwise
from random import Random

import pytest

from proxy.analysis.ledger import MAX_CELLS, MAX_ROWS, MAX_SOURCES, OTHERS_LAG, OWN_LAG, Ledger, Stretch
from proxy.model.measures import SLOT
from proxy.model.rollouts import Arrived

WAIT = 10.0
WAITED = int(WAIT / SLOT)


def both(slot: int, agent: int = 1, legacy: int = 9) -> Arrived:
    """Requests of both arms that arrived and ended well."""
    return Arrived(slot, agent, agent, 0, 0, legacy, legacy, 0, 0)


def begun(*rows: Arrived) -> Ledger:
    """A ledger that has heard of slot 1000, and then of these rows."""
    ledger = Ledger(WAIT)
    ledger.add("", [both(1_000)])
    ledger.settle(1_000)
    ledger.add("", rows)
    return ledger


def counts(stretch: Stretch) -> tuple[int, ...]:
    """(agent's, failed, legacy's, failed)"""
    return stretch.agent, stretch.agent_failed, stretch.legacy, stretch.legacy_failed


def settled(ledger: Ledger, now: int) -> list[tuple[int, ...]]:
    return [counts(stretch) for stretch in ledger.settle(now)]


def tail(ledger: Ledger) -> list[tuple[int, ...]]:
    return [counts(stretch) for stretch in ledger.tail()]


# In order, and when nothing is open


def test_a_slot_is_settled_when_all_workers_have_told_of_it() -> None:
    ledger = begun()
    assert settled(ledger, 1_000 + OWN_LAG - 1) == []
    assert tail(ledger) == [(1, 0, 9, 0)]
    assert settled(ledger, 1_000 + OWN_LAG) == [(1, 0, 9, 0)]
    assert tail(ledger) == []


def test_what_different_workers_tell_of_a_slot_is_one() -> None:
    ledger = begun(Arrived(1_000, agent=2, legacy=1), both(1_000, 3, 4))
    ledger.add("", [Arrived(1_000, agent_ended=2, agent_failed=1, legacy_ended=1)])
    assert settled(ledger, 1_010) == [(6, 1, 14, 0)]


def test_an_open_request_holds_back_its_slot_and_those_after_it() -> None:
    ledger = begun(Arrived(1_001, agent=1), both(1_002))
    assert settled(ledger, 1_010) == [(1, 0, 9, 0)]
    ledger.add("", [Arrived(1_001, agent_ended=1, agent_failed=1)])
    assert settled(ledger, 1_011) == [(1, 1, 0, 0), (1, 0, 9, 0)]


def test_open_is_good_for_the_agent_and_bad_for_legacy_until_it_ends() -> None:
    ledger = begun(Arrived(1_001, agent=5, legacy=20))
    ledger.settle(1_001)
    assert tail(ledger) == [(1, 0, 9, 0), (5, 0, 20, 20)]
    ledger.add("", [Arrived(1_001, agent_ended=2, agent_failed=1, legacy_ended=15, legacy_failed=1)])
    ledger.settle(1_001)
    assert tail(ledger) == [(1, 0, 9, 0), (5, 1, 20, 6)]
    ledger.add("", [Arrived(1_001, agent_ended=3, legacy_ended=5)])
    assert settled(ledger, 1_010)[1] == (5, 1, 20, 1)


def test_slowness_is_counted_beside_failures() -> None:
    ledger = begun(Arrived(1_001, 4, 4, 1, 3, 9, 9, 2, 5))
    _, stretch = ledger.settle(1_010)
    assert stretch.failures[1:5] == (4, 1, 9, 2)
    assert stretch.slowness[1:5] == (4, 3, 9, 5)


def test_a_client_that_went_away_takes_its_arrival_with_it() -> None:
    ledger = begun(Arrived(1_001, agent=3, legacy=3))
    ledger.add("", [Arrived(1_001, agent=-1, agent_ended=2, legacy=-2, legacy_ended=1)])
    assert settled(ledger, 1_010)[1] == (2, 0, 1, 0)


def test_elapsed_is_from_slot_to_slot_whatever_time_the_rows_took() -> None:
    ledger = begun(both(1_001), both(1_004), both(1_104))
    first, *rest = ledger.settle(1_200)
    assert first.elapsed <= (OTHERS_LAG + 1) * SLOT
    assert [stretch.elapsed for stretch in rest] == pytest.approx([SLOT, 3 * SLOT, 100 * SLOT])


def test_a_clock_that_seems_to_go_back_settles_nothing_twice() -> None:
    ledger = begun()
    ledger.settle(1_010)
    ledger.add("", [both(1_011)])
    assert settled(ledger, 900) == []
    assert settled(ledger, 1_020) == [(1, 0, 9, 0)]


# What streams


def test_a_long_stream_is_withdrawn_from_legacy_and_no_failure_of_the_agent() -> None:
    ledger = begun(Arrived(1_001, agent=2, agent_ended=1, legacy=9, legacy_ended=8))
    assert settled(ledger, 1_000 + WAITED) == [(1, 0, 9, 0)]
    assert settled(ledger, 1_001 + WAITED) == [(2, 0, 8, 0)]


def test_a_stream_that_breaks_after_the_wait_counts_when_it_does() -> None:
    ledger = begun(Arrived(1_001, agent=2, legacy=2))
    ledger.settle(1_001 + WAITED)
    ledger.add("", [both(1_060), Arrived(1_001, agent_ended=2, agent_failed=1, legacy_ended=2, legacy_failed=1)])
    assert settled(ledger, 1_070) == [(2, 1, 11, 1)]


# What is too late, or nonsense


def test_what_comes_for_a_slot_that_has_left_goes_to_the_oldest_that_has_not() -> None:
    ledger = begun(both(1_002), both(1_003))
    ledger.settle(1_000 + OWN_LAG)
    ledger.add("", [Arrived(1_000, 3, 3, 2, 0, 5, 5, 1, 0)])
    assert settled(ledger, 1_010) == [(4, 2, 14, 1), (1, 0, 9, 0)]


def test_where_none_is_left_it_opens_one() -> None:
    ledger = begun()
    ledger.settle(1_010)
    ledger.add("", [Arrived(1_000, agent_ended=1, agent_failed=1)])
    assert settled(ledger, 1_020) == [(1, 1, 0, 0)]


def test_late_arrivals_that_are_open_are_judged_so_that_the_agent_is_not_blamed() -> None:
    ledger = begun(both(1_005))
    ledger.settle(1_004)
    ledger.add("", [Arrived(1_000, 3, 1, 1, 0, 5, 2, 0, 0)])
    assert settled(ledger, 1_010) == [(4, 1, 14, 3)]


def test_requests_from_before_we_listened_are_not_judged_by_their_end() -> None:
    """After a restart of ours the ends of what was open are heard, and those that time out are the last of them."""
    ledger = begun(both(1_001))
    ledger.add("", [Arrived(slot, agent_ended=1, agent_failed=1) for slot in range(900, 1_000)])
    assert settled(ledger, 1_010) == [(1, 0, 9, 0), (1, 0, 9, 0)]


@pytest.mark.parametrize(
    "row",
    [
        Arrived(1_001, 1, 5, 5, 5, 1, 5, 5, 5),
        Arrived(1_001, -5, -5, -5, -5, -5, -5, -5, -5),
        Arrived(1_001, 2, 1, 7, 9, 2, 1, 7, 9),
        Arrived(1_001, 2, 2, -1, -1, 2, 2, -1, -1),
        Arrived(5, 2, 1, 7, 9, 2, 1, 7, 9),
        Arrived(99_999, 2, 1, 7, 9, 2, 1, 7, 9),
        Arrived(-(10**12), 10**12, 1, 7, 9, 2, 1, 7, 9),
    ],
)
def test_nonsense_never_makes_more_bad_ones_than_there_are(row: Arrived) -> None:
    ledger = begun(row)
    for stretch in (*ledger.tail(), *ledger.settle(1_002), *ledger.settle(2_000)):
        assert stretch.elapsed > 0
        assert 0 <= stretch.agent_failed <= stretch.agent
        assert 0 <= stretch.agent_slow <= stretch.agent
        assert 0 <= stretch.legacy_failed <= stretch.legacy
        assert 0 <= stretch.legacy_slow <= stretch.legacy


# Several sources


def test_two_replicas_with_different_clocks_are_one_stream() -> None:
    ledger = Ledger(WAIT)
    for now in range(1_000, 1_040, 2):
        ledger.add("", [both(now - 1), both(now)])
        ledger.add("theirs", [both(now + 69_999, 2, 8), both(now + 70_000, 2, 8)])
        for stretch in ledger.settle(now):
            assert stretch.agent * 17 == stretch.legacy * 3
    assert tail(ledger)[-1] == (3, 0, 17, 0)


def test_other_replicas_are_given_more_time_to_tell() -> None:
    ledger = begun()
    ledger.add("theirs", [both(70_000)])
    assert settled(ledger, 1_001 + OWN_LAG) == []
    assert settled(ledger, 1_001 + OWN_LAG + OTHERS_LAG) == [(1, 0, 9, 0), (1, 0, 9, 0)]


def test_an_offset_that_changes_leaves_nothing_open_for_longer() -> None:
    """The arrival was booked a slot later than its end is."""
    ledger = begun()
    ledger.add("theirs", [Arrived(70_000, agent=1, legacy=9)])
    ledger.settle(1_002)
    ledger.add("theirs", [Arrived(70_000, agent_ended=1, agent_failed=1, legacy_ended=9), both(70_005)])
    ledger.settle(1_004)
    rest = settled(ledger, 1_030)
    assert tail(ledger) == []
    assert sum(failed for _, failed, _, _ in rest) == 1


def test_sources_are_bounded_and_the_silent_ones_go_first() -> None:
    ledger = Ledger(WAIT)
    ledger.add("", [both(1_000)])
    for number in range(3 * MAX_SOURCES):
        ledger.add(f"life {number}", [both(7)])
        ledger.settle(1_000 + number)
    assert len(ledger._sources) == MAX_SOURCES
    assert "" in ledger._sources
    assert f"life {3 * MAX_SOURCES - 1}" in ledger._sources


def test_a_replica_that_is_gone_is_not_waited_for_any_longer() -> None:
    ledger = begun()
    ledger.add("theirs", [both(70_000)])
    ledger.settle(1_000)
    ledger.add("", [both(9_000)])
    ledger.add("others", [both(3)])
    ledger.settle(9_000)
    assert ledger._sources.keys() == {"", "others"}


# Bounds


def test_a_long_tail_is_joined_more_coarsely_the_older_it_is() -> None:
    ledger = begun(Arrived(1_001, legacy=1))
    for slot in range(1_002, 1_050):
        ledger.add("", [both(slot)])
        ledger.settle(slot)
        assert len(ledger.tail()) <= MAX_CELLS
    stretches = ledger.tail()
    assert sum(stretch.agent for stretch in stretches) == 48
    lengths = [stretch.elapsed for stretch in stretches]
    assert lengths[-1] == pytest.approx(SLOT)
    assert max(lengths) < WAIT / 2
    assert sum(earlier < later - 1e-9 for earlier, later in pairwise(lengths)) <= 2  # hardly ever out of order
    assert sum(max(1, stretch.looks) for stretch in stretches) == pytest.approx(49, abs=1)


def test_joined_stretches_are_settled_together_and_lose_nothing() -> None:
    ledger = begun(Arrived(1_001, legacy=1))
    seen = 0
    for slot in range(1_002, 1_300):
        ledger.add("", [both(slot)])
        seen += sum(stretch.agent for stretch in ledger.settle(slot))
    assert seen + sum(stretch.agent for stretch in ledger.tail()) == 298 + 1


def test_many_slots_at_once_are_as_good() -> None:
    ledger = Ledger(600.0)
    ledger.add("", [both(slot) for slot in range(1_000, 1_000 + MAX_ROWS - 1_000)])
    ledger.settle(1_000)
    ledger.add("", [Arrived(1_001 + slot, agent=1) for slot in range(2_500)])
    ledger.settle(4_000)
    assert len(ledger.tail()) <= MAX_CELLS


def test_rows_that_wait_are_bounded_and_what_is_lost_is_counted() -> None:
    ledger = Ledger(WAIT)
    for _ in range(3):
        ledger.add("", [both(1_000)] * (MAX_ROWS // 2))
    assert ledger.lost == MAX_ROWS // 2
    assert sum(stretch.agent for stretch in ledger.settle(1_010)) == MAX_ROWS
    ledger.add("", [both(1_011)])
    assert settled(ledger, 1_020) == [(1, 0, 9, 0)]


def test_whatever_the_order_and_the_delay_what_ended_in_time_is_counted_once() -> None:
    rng, ledger = Random("order"), Ledger(WAIT)
    ledger.add("", [both(1_000)])
    late: dict[int, list[Arrived]] = {}
    failed = agent = 0
    for slot in range(1_001, 1_400):
        requests = rng.randrange(4)
        agent += requests
        late.setdefault(slot, []).append(Arrived(slot, agent=requests))
        for _ in range(requests):
            bad = rng.random() < 0.1
            failed += bad
            late.setdefault(slot + rng.randrange(40), []).append(Arrived(slot, agent_ended=1, agent_failed=bad))
    seen = [0, 0]
    for now in range(1_001, 1_500):
        ledger.add("", late.get(now, []))
        for stretch in ledger.settle(now):
            seen[0] += stretch.agent
            seen[1] += stretch.agent_failed
    assert seen == [agent + 1, failed]
