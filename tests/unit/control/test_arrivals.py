"""What our workers report, by slot."""

from proxy.control.arrivals import MAX_SLOTS, Arrivals
from proxy.model.measures import OUTCOMES
from proxy.model.rollouts import Arrived
from proxy.model.tick import Labels, Tick

KEY = ("refunds", "v1", 1)


def tick(rows: dict[tuple[str, str, str], int], *, stage: str = "canary", epoch: int = 1, source: str = "w") -> Tick:
    """Of (arm, result, slot)."""
    labels: dict[Labels, int] = {
        ("refunds", "v1", stage, str(epoch), arm, result, slot): count for (arm, result, slot), count in rows.items()
    }
    return Tick(source, 1, 0.0, counters={OUTCOMES.name: labels})


def watched(*epochs: int) -> Arrivals:
    arrivals = Arrivals()
    arrivals.watch({("refunds", "v1", epoch) for epoch in epochs or (1,)})
    return arrivals


def test_results_of_all_workers_and_stages_add_up_by_slot_until_they_are_taken() -> None:
    arrivals = watched()
    arrivals.add(tick({("agent", "arrived", "7"): 5, ("agent", "ok", "7"): 2, ("agent", "failed", "7"): 1}))
    arrivals.add(tick({("agent", "slow", "7"): 1, ("legacy", "arrived", "6"): 9, ("agent", "ok", "6"): 4}))
    arrivals.add(tick({("agent", "withdrawn", "7"): 1, ("agent", "arrived", "7"): 1}, stage="shadow", source="other"))
    assert arrivals.take(KEY) == (
        Arrived(6, agent_ended=4, legacy=9),
        Arrived(7, agent=5, agent_ended=3, agent_failed=1, agent_slow=1),
    )
    assert arrivals.take(KEY) == ()


def test_what_has_no_slot_is_no_arrival() -> None:
    arrivals = watched()
    arrivals.add(tick({("legacy", "fallback", ""): 3, ("agent", "drawn", ""): 3, ("agent", "escalated", ""): 1}))
    arrivals.add(tick({("legacy", "ok", ""): 3, ("agent", "novel", "7"): 3}))
    assert arrivals.take(KEY) == ()


def test_only_rollouts_under_watch_are_kept() -> None:
    arrivals = Arrivals()
    arrivals.add(tick({("agent", "arrived", "7"): 5}))
    arrivals.watch({KEY})
    arrivals.add(tick({("agent", "arrived", "7"): 5}, epoch=2))
    assert arrivals.take(KEY) == ()
    assert arrivals.take(("refunds", "v1", 2)) == ()


def test_what_is_watched_no_longer_is_forgotten_and_the_rest_is_kept() -> None:
    arrivals = watched(1, 2)
    arrivals.add(tick({("agent", "arrived", "7"): 1}))
    arrivals.add(tick({("agent", "arrived", "7"): 2}, epoch=2))
    arrivals.watch({("refunds", "v1", 2)})
    assert arrivals.take(KEY) == ()
    assert arrivals.take(("refunds", "v1", 2)) == (Arrived(7, agent=2),)


def test_other_families_are_no_evidence() -> None:
    arrivals = watched()
    arrivals.add(Tick("w", 1, 0.0, counters={"requests_total": {("refunds", "agent", "canary", "200"): 3}}))
    assert arrivals.take(KEY) == ()


def test_slots_that_nobody_takes_are_bounded() -> None:
    arrivals = watched()
    for slot in range(2 * MAX_SLOTS):
        arrivals.add(tick({("agent", "arrived", str(slot)): 1}))
    assert len(arrivals.take(KEY)) == MAX_SLOTS
