"""What counts as evidence, in which slot, and of whom."""

from proxy.analysis.blame import Slot
from proxy.gateway.counters import Counters
from proxy.gateway.evidence import MAX_REPEATERS, MEMORY, Repeats, Tally, Users
from proxy.model.tick import Labels
from proxy.model.words import Arm, Mode

EVIDENCE = ("refunds", "v1", "canary", "1")


def tally(arm: Arm = Arm.AGENT, mode: Mode = Mode.CANARY) -> Tally:
    return Tally("refunds", arm, mode, EVIDENCE, slot=100)


def told(counted: Tally, next_slot: int) -> dict[tuple[str, str], int]:
    """(result, slot) -> count."""
    outcomes: dict[Labels, int] = {}
    counted.tell(outcomes, next_slot)
    return {(labels[-2], labels[-1]): count for labels, count in outcomes.items()}


def test_an_outcome_belongs_to_the_slot_in_which_its_request_arrived() -> None:
    agent = tally()
    early = agent.begin()
    assert told(agent, 101) == {("drawn", ""): 1, ("arrived", "100"): 1}
    late = agent.begin()
    agent.outcome(early, failed=True, slow=True)
    agent.outcome(late, failed=False, slow=False)
    assert told(agent, 102) == {
        ("drawn", ""): 1,
        ("arrived", "101"): 1,
        ("ok", "101"): 1,
        ("failed", "100"): 1,
        ("slow", "100"): 1,
    }
    assert told(agent, 103) == {}


def test_what_is_no_evidence_is_withdrawn_from_its_slot() -> None:
    agent = tally()
    early, other = agent.begin(), agent.begin()
    agent.withdraw(other)
    assert told(agent, 101)["withdrawn", "100"] == 1
    agent.withdraw(early)
    assert told(agent, 102) == {("withdrawn", "100"): 1}


def test_who_falls_back_is_no_control() -> None:
    fallback = tally(Arm.LEGACY, Mode.FALLBACK)
    fallback.outcome(fallback.begin(), failed=True, slow=False)
    assert told(fallback, 101) == {("fallback", ""): 1}


def test_a_copy_was_not_drawn() -> None:
    copy = tally(Arm.AGENT, Mode.SHADOW)
    copy.outcome(copy.begin(), failed=False, slow=False)
    assert told(copy, 101) == {("arrived", "100"): 1, ("ok", "100"): 1}


def ticked(counted: Tally, until: int) -> None:
    for slot in range(counted.slot + 1, until + 1):
        told(counted, slot)


def test_what_became_of_a_request_is_known_by_the_slot_of_its_arrival() -> None:
    legacy = tally(Arm.LEGACY, Mode.LEGACY)
    early, other, gone = legacy.begin(), legacy.begin(), legacy.begin()
    legacy.outcome(early, failed=True, slow=False)
    assert legacy.since(100) == {100: Slot(0, 1)}
    ticked(legacy, 103)
    legacy.outcome(other, failed=False, slow=False)
    legacy.withdraw(gone)
    assert legacy.since(100)[100] == Slot(1, 1)
    ticked(legacy, 104)
    assert legacy.since(100)[100] == Slot(1, 1)
    assert 100 not in legacy.since(101)


def test_what_is_open_for_longer_than_usual_is_taken_for_bad_until_it_ends() -> None:
    legacy = tally(Arm.LEGACY, Mode.LEGACY)
    legacy.usual = 1.0
    slot = legacy.begin()
    ticked(legacy, 108)
    assert legacy.since(100, overdue=legacy.settled)[100] == Slot(0, 0)
    ticked(legacy, 109)
    assert legacy.since(100, overdue=legacy.settled)[100] == Slot(0, 1)
    assert legacy.since(100)[100] == Slot(0, 0)
    legacy.outcome(slot, failed=False, slow=False)
    assert legacy.since(100, overdue=legacy.settled)[100] == Slot(1, 0)


def test_what_is_usual_is_how_long_good_answers_take() -> None:
    legacy = tally(Arm.LEGACY, Mode.LEGACY)
    for seconds in (1.0, 3.0):
        legacy.outcome(legacy.begin(), failed=False, slow=False)
        legacy.seconds += seconds
    legacy.outcome(legacy.begin(), failed=True, slow=False)
    told(legacy, 101)
    assert legacy.usual == 2.0
    legacy.outcome(legacy.begin(), failed=False, slow=False)
    legacy.seconds += 12.0
    told(legacy, 102)
    assert legacy.usual == 3.0


def test_a_minute_is_remembered_and_no_more() -> None:
    legacy = tally(Arm.LEGACY, Mode.LEGACY)
    for slot in range(100, 100 + 3 * MEMORY):
        legacy.outcome(legacy.begin(), failed=False, slow=False)
        told(legacy, slot + 1)
    assert len(legacy._recent) <= MEMORY
    late = legacy.slot - 2 * MEMORY
    legacy.outcome(late, failed=True, slow=False)
    told(legacy, legacy.slot + 1)
    assert late not in legacy.since(0)


def test_a_user_is_told_once() -> None:
    users = Users()
    for bucket in (0, 99_999, 0, 7):
        users.note(bucket)
    assert users.tell() == b"\x00\x00\x00\x01\x86\x9f\x00\x00\x07"
    users.note(7)
    assert users.tell() == b""


def test_where_nobody_is_counted_users_take_no_room() -> None:
    """Each worker has them twice for each rollout."""
    users = Users()
    assert len(users._seen) == 0
    users.note(99_999)
    assert len(users._seen) == 12_500


def test_users_are_the_same_ones_while_the_stage_and_weight_last() -> None:
    counters = Counters()
    labels = ("refunds", "v1", "canary", "1", "5000", "agent")
    users = counters.users(labels)
    users.note(3)
    assert counters.users(labels) is users
    counters.retain(set())  # they are not told yet
    assert counters.drain_users() == {labels: b"\x00\x00\x03"}
    assert counters.drain_users() == {}
    counters.retain(set())
    assert counters.users(labels) is not users


def test_three_bad_outcomes_of_a_user_in_a_minute_are_enough() -> None:
    repeats = Repeats()
    assert [repeats.too_often(7, 60.0 + second) for second in range(5)] == [False, False, False, True, True]
    assert not repeats.too_often(8, 64.0)
    assert not repeats.too_often(7, 120.0)  # another minute


def test_it_is_remembered_of_so_many_users_and_no_more() -> None:
    repeats = Repeats()
    for bucket in range(MAX_REPEATERS):
        repeats.too_often(bucket, 0.0)
    assert not any(repeats.too_often(MAX_REPEATERS, 0.0) for _ in range(10))
    assert [repeats.too_often(0, 0.0) for _ in range(3)] == [False, False, True]
