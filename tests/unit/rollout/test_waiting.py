"""Gates that only wait: what is missing, and until when."""

from dataclasses import replace

from proxy.config.freeze import Freeze, parse_window
from proxy.model.rollouts import ArmCount, Evidence, GateResult
from proxy.model.words import Phase, Verdict
from proxy.rollout.waiting import approval, freeze, min_samples, soak
from tests.unit.rollout.examples import HOUR, NOW, PLAN, at_stage


def test_soak_says_how_long_and_until_when() -> None:
    waiting = soak(PLAN, replace(at_stage(1), soaked=600.0), NOW)
    assert (waiting.verdict, waiting.value, waiting.threshold) == (Verdict.INCONCLUSIVE, 600.0, HOUR)
    assert waiting.reason == "held 10m of 1h, 50m to go, not before 2027-01-15 08:50:00 UTC"
    paused = soak(PLAN, replace(at_stage(1), soaked=600.0, phase=Phase.PAUSED), NOW)
    assert paused.reason == "held 10m of 1h, 50m to go, but not while paused"
    assert soak(PLAN, replace(at_stage(1), soaked=HOUR), NOW).verdict is Verdict.PASSED


def test_a_shadow_stage_counts_comparable_pairs() -> None:
    seen = Evidence(agent=ArmCount(10_000), matched=300, mismatched=10, incomparable=5_000)
    result = min_samples(PLAN, at_stage(0), seen)
    assert (result.verdict, result.samples) == (Verdict.INCONCLUSIVE, 310)
    assert result.reason == "310 of 500 comparable pairs, 190 to go; 5000 pairs could not be compared"
    assert min_samples(PLAN, at_stage(0), replace(seen, matched=490)).verdict is Verdict.PASSED


def test_a_serving_stage_counts_the_agents_requests() -> None:
    result = min_samples(PLAN, at_stage(1), Evidence(agent=ArmCount(499), matched=0))
    assert (result.verdict, result.reason) == (Verdict.INCONCLUSIVE, "499 of 500 agent requests, 1 to go")
    enough = min_samples(PLAN, at_stage(1), Evidence(agent=ArmCount(1_500)))
    assert (enough.verdict, enough.reason) == (Verdict.PASSED, "1500 agent requests, 500 are asked for")


def test_a_shadow_stage_without_copies_says_why_nothing_comes() -> None:
    result = min_samples(replace(PLAN, shadow=0), at_stage(0), Evidence())
    assert result.reason.endswith("none can come: shadow.percent is 0")


def test_a_freeze_says_until_when_by_the_operators_clock() -> None:
    plan = replace(PLAN, freeze=Freeze((parse_window("Fri 08:30 - Mon 08:00"),), "Europe/Berlin"))
    frozen = freeze(plan, NOW)  # a Friday, 09:00 in Berlin
    assert (frozen.verdict, frozen.reason) == (
        Verdict.INCONCLUSIVE,
        "stands still until Mon 2027-01-18 08:00 Europe/Berlin (Fri 08:30 - Mon 08:00)",
    )
    assert freeze(plan, NOW - HOUR).verdict is Verdict.PASSED


def test_approval_never_passes_and_says_whether_anything_else_is_missing() -> None:
    soaked = GateResult("soak", Verdict.PASSED, None, None, None, 0, "")
    report = GateResult("kappa", Verdict.FAILED, None, None, None, 0, "", dry_run=True)
    few = GateResult("min_samples", Verdict.INCONCLUSIVE, None, None, None, 0, "")
    apart = GateResult("agreement", Verdict.FAILED, None, None, None, 0, "")
    alone = approval(PLAN, [soaked, report])
    assert (alone.verdict, alone.reason) == (
        Verdict.INCONCLUSIVE,
        "all else passed; waits for an operator: crossfade promote refunds",
    )
    assert approval(PLAN, [few]).reason == "once min_samples has passed, an operator's promote is needed"
    assert approval(PLAN, [few, apart]).reason == (
        "once min_samples and agreement have passed, an operator's promote is needed"
    )
