"""Slots of other machines, on our scale. Their reports come every half second or so; ours is slot 1000 and on."""

from proxy.analysis.sources import BACK, DRIFT, WINDOW, Source
from proxy.model.rollouts import Arrived


def arrivals(*slots: int) -> tuple[Arrived, ...]:
    return tuple(Arrived(slot, agent=1, legacy=9) for slot in slots)


def ends(*slots: int) -> tuple[Arrived, ...]:
    return tuple(Arrived(slot, agent_ended=1, legacy_ended=9) for slot in slots)


def test_what_another_machine_calls_its_slot_is_translated_at_first_sight() -> None:
    source = Source(arrivals(70_001, 70_002, 70_003), now=1_000)
    assert 70_003 + source.offset == 1_000
    assert source.since == 70_001


def test_our_own_slots_are_ours_however_old_they_are() -> None:
    source = Source(arrivals(995, 996), now=1_000, own=True)
    assert (source.offset, source.since) == (0, 995)


def test_of_requests_that_were_there_before_us_only_the_ends_are_heard() -> None:
    assert Source(ends(900, 950), now=1_000, own=True).since == 1_000
    assert Source(arrivals(100, 999), now=1_000, own=True).since == 1_000 - BACK


def test_a_report_that_came_quicker_corrects_the_one_that_was_late() -> None:
    source = Source(arrivals(70_000), now=1_000)
    source.hear(arrivals(70_008), now=1_004)  # the first had been on its way for 4 slots
    assert (70_008 + source.offset, source.since) == (1_004, 70_000)


def test_a_report_that_was_held_up_changes_nothing() -> None:
    source = Source(arrivals(70_000), now=1_000)
    source.hear(arrivals(70_003), now=1_010)
    assert source.offset == 1_000 - 70_000


def test_a_late_end_is_no_sign_of_a_clock_gone_wrong() -> None:
    source = Source(arrivals(70_000), now=1_000)
    source.hear(ends(69_000), now=1_002)
    assert source.offset == 1_000 - 70_000


def test_a_clock_that_stood_still_is_noticed_at_once() -> None:
    source = Source(arrivals(70_000), now=1_000)
    source.hear(arrivals(70_001), now=1_002 + DRIFT)
    assert 70_001 + source.offset == 1_002 + DRIFT


def test_a_clock_that_began_anew_is_noticed_at_once() -> None:
    source = Source(arrivals(70_000), now=1_000)
    source.hear(arrivals(5), now=1_003)
    assert (5 + source.offset, source.since) == (1_003, 5)
    source.hear(arrivals(80_000), now=1_006)
    assert 80_000 + source.offset == 1_006


def test_a_clock_that_runs_a_little_slower_is_followed() -> None:
    source, theirs = Source(arrivals(70_000), now=1_000), 70_000.0
    for now in range(1_002, 1_000 + 20 * WINDOW, 2):
        theirs += 2 * 0.999
        source.hear(arrivals(int(theirs)), now)
        assert now - 3 <= int(theirs) + source.offset <= now
