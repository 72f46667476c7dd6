"""The guard's counts and verdicts; the statistics themselves are tested in tests/unit/analysis."""

from proxy.control.guard import Arrivals, Guard
from proxy.model.rollouts import RolloutState
from proxy.model.tick import Tick
from proxy.model.words import Phase, Verdict
from tests.unit.control.world import CONFIG, loaded, outcomes

KEY = ("refunds", "v1", 1)
STATE = RolloutState("refunds", "v1", Phase.PROGRESSING, 1, "canary", 5_000, 100_000, epoch=1, revision=2, since=0.0)


def test_counts_of_all_workers_and_stages_add_up_until_they_are_taken() -> None:
    arrivals = Arrivals()
    arrivals.watch({KEY})
    arrivals.add(outcomes(agent_ok=3, legacy_failed=1))
    arrivals.add(outcomes(source="other", stage="shadow", agent_ok=4))
    assert arrivals.take(KEY) == {("agent", "ok"): 7, ("legacy", "failed"): 1}
    assert arrivals.take(KEY) == {}


def test_counts_of_no_rollout_under_watch_are_not_kept() -> None:
    arrivals = Arrivals()
    arrivals.add(outcomes(agent_ok=3))
    arrivals.watch({KEY})
    arrivals.add(outcomes(epoch=2, agent_ok=3))
    assert arrivals.take(KEY) == {}


def test_what_is_watched_no_longer_is_forgotten_and_the_rest_is_kept() -> None:
    arrivals = Arrivals()
    later = ("refunds", "v1", 2)
    arrivals.watch({KEY, later})
    arrivals.add(outcomes(agent_ok=1))
    arrivals.add(outcomes(epoch=2, agent_ok=2))
    arrivals.watch({later})
    assert arrivals.take(KEY) == {}
    assert arrivals.take(later) == {("agent", "ok"): 2}


def test_other_families_are_no_evidence() -> None:
    arrivals = Arrivals()
    arrivals.watch({KEY})
    arrivals.add(Tick("w", 1, 0.0, counters={"requests_total": {("refunds", "agent", "canary", "200"): 3}}))
    assert arrivals.take(KEY) == {}


def test_it_says_how_bad_each_arm_is_and_never_that_all_is_well() -> None:
    guard = Guard(loaded().rollouts["refunds"], STATE, 0.5)
    errors, latency = guard.step(0.5, {("agent", "ok"): 99, ("agent", "failed"): 1, ("legacy", "ok"): 400})
    assert (errors.name, errors.verdict, errors.value, errors.samples) == (
        "error_rate", Verdict.INCONCLUSIVE, 0.01, 100,
    )  # fmt: skip
    assert errors.threshold == 0.002
    assert (latency.name, latency.value) == ("latency", 0.0)


def test_an_outage_of_the_agent_alone_fails_and_stays_failed() -> None:
    guard = Guard(loaded().rollouts["refunds"], STATE, 0.5)
    guard.step(0.5, {("agent", "ok"): 20, ("legacy", "ok"): 400})
    for _ in range(3):
        errors, latency = guard.step(0.5, {("agent", "failed"): 20, ("legacy", "ok"): 400})
    assert errors.verdict is Verdict.FAILED
    assert latency.verdict is Verdict.INCONCLUSIVE
    errors, _ = guard.step(0.5, {})
    assert errors.verdict is Verdict.FAILED


def test_an_outage_of_both_blames_nobody() -> None:
    guard = Guard(loaded().rollouts["refunds"], STATE, 0.5)
    guard.step(0.5, {("agent", "ok"): 20, ("legacy", "ok"): 400})
    for _ in range(20):
        errors, _ = guard.step(0.5, {("agent", "failed"): 20, ("legacy", "failed"): 400})
    assert errors.verdict is Verdict.INCONCLUSIVE


def test_without_a_limit_for_slowness_nobody_is_slow() -> None:
    config = loaded(CONFIG.replace("      guard: {latency: {slower_than: 5s}}\n", ""))
    results = Guard(config.rollouts["refunds"], STATE, 0.5).step(0.5, {("agent", "slow"): 20, ("legacy", "ok"): 400})
    assert [result.name for result in results] == ["error_rate"]


def test_it_fits_its_epoch_and_its_margins_only() -> None:
    config = loaded()
    guard = Guard(config.rollouts["refunds"], STATE, 0.5)
    assert guard.fits(config.rollouts["refunds"], STATE)
    assert guard.fits(loaded().rollouts["refunds"], STATE)
    other = loaded(CONFIG.replace("slower_than: 5s", "slower_than: 6s"))
    assert not guard.fits(other.rollouts["refunds"], STATE)
