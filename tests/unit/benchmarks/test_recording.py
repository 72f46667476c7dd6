from dataclasses import replace

from benchmarks.load.feeder import BODY, kinds
from benchmarks.load.recording import FEED, Kept, Users, goals, page
from proxy.model.records import unpack

KEPT = Kept(20_000, 4.0, 0.1, 0, {"control": 3.0, "store": 0.5}, 20_000, 44_000_000)
USERS = Users([1.0, 2.0, 1.0], [1.05, 2.1, 9.0], 6_000, 0)


def met(kept: Kept, users: Users) -> list[bool]:
    return [goal.met for goal in goals(kept, users)]


def test_a_goal_is_missed_by_what_it_is_about() -> None:
    assert met(KEPT, USERS) == [True, True, True, True]
    assert met(replace(KEPT, behind=0.7), USERS) == [False, True, True, True]
    assert met(replace(KEPT, pairs=19_999), USERS) == [True, False, True, True]
    assert met(replace(KEPT, dropped=1), USERS) == [True, False, True, True]
    assert met(KEPT, replace(USERS, recorded=[1.2, 2.4, 1.0])) == [True, True, False, True]
    assert met(KEPT, replace(USERS, errors=1)) == [True, True, False, True]


def test_the_page_says_what_one_pair_costs() -> None:
    text = page(KEPT, USERS)
    assert "150 µs of CPU in control, so that one core would do for 6,667 a second; 25 µs in the store" in text
    assert "2,200 bytes" in text
    assert f"{FEED:,} pairs/s" in text


def test_what_is_fed_is_what_a_worker_packs() -> None:
    fields, size = kinds()[0]
    record = unpack((b"r-1", *fields[1:]))
    assert record.legacy is not None
    assert record.agent is not None
    assert [len(body or b"") for body in (record.body, record.legacy.body, record.agent.body)] == [BODY] * 3
    assert size == 3 * BODY
