"""What the pairs show: agreement, its segments, its direction, and what chance alone would give."""

import pytest

from proxy.config.gates_schema import Direction, Floor, Segments
from proxy.model.rollouts import OTHER, Evidence
from proxy.model.words import Verdict
from proxy.rollout.pairs import agreement, direction, judge, kappa, segments

FLOOR = Floor.model_validate({"min": "95%"})
NOTHING = Floor.model_validate({"min": "0%"})
KINDS = Segments.model_validate({"by": "$.type"})


@pytest.mark.parametrize(
    ("matched", "mismatched", "verdict", "reason"),
    [
        (0, 0, Verdict.INCONCLUSIVE, "no comparable pairs yet; 95.00% must surely agree"),
        (500, 5, Verdict.PASSED, "99.01% of 505 pairs agree, surely more than 95.00%"),
        (400, 100, Verdict.FAILED, "80.00% of 500 pairs agree, surely fewer than 95.00%"),
    ],
)
def test_agreement(matched: int, mismatched: int, verdict: Verdict, reason: str) -> None:
    result = agreement(FLOOR, Evidence(matched=matched, mismatched=mismatched), 500)
    assert (result.verdict, result.reason, result.threshold) == (verdict, reason, 0.95)


def test_agreement_is_held_against_its_bound_and_not_against_its_value() -> None:
    result = agreement(FLOOR, Evidence(matched=485, mismatched=15), 500)
    assert (result.verdict, result.value) == (Verdict.INCONCLUSIVE, 0.97)
    assert result.bound is not None
    assert result.bound < 0.95
    assert result.reason == (
        f"97.00% of 500 pairs agree, surely {result.bound:.2%}; more than 95.00% must be sure,"
        " about 400 more pairs at this rate"
    )


def test_where_nothing_agrees_the_comparison_may_be_wrong() -> None:
    said = agreement(FLOOR, Evidence(mismatched=500), 500).reason
    assert said.endswith(
        ": see with crossfade pairs what differs, and whether rollout.compare says what must be the same"
    )


def test_a_few_pairs_fail_nothing_for_they_may_be_one_users() -> None:
    assert agreement(FLOOR, Evidence(mismatched=499), 500).verdict is Verdict.INCONCLUSIVE
    assert agreement(FLOOR, Evidence(mismatched=500), 500).verdict is Verdict.FAILED


def test_agreement_of_incomparable_pairs_only_says_so() -> None:
    result = agreement(FLOOR, Evidence(incomparable=40), 500)
    assert result.reason == "no comparable pairs yet, 40 could not be compared; 95.00% must surely agree"


def test_no_floor_asks_for_nothing() -> None:
    assert agreement(NOTHING, Evidence(), 500).dry_run
    result = agreement(NOTHING, Evidence(matched=1, mismatched=9), 500)
    assert (result.dry_run, result.reason) == (True, "10.00% of 10 pairs agree; nothing is asked of it")


# Segments


def kinds(**segments: tuple[int, int]) -> Evidence:
    return Evidence(segments={name.replace("other", OTHER): counts for name, counts in segments.items()})


def test_no_segment_was_seen() -> None:
    result = segments(KINDS, Evidence(matched=100))
    assert (result.verdict, result.samples) == (Verdict.INCONCLUSIVE, 0)
    assert result.reason == "no pairs of any segment yet; 90.00% of each must surely agree"


def test_all_segments_agree() -> None:
    result = segments(KINDS, kinds(full=(900, 10), part=(500, 15)))
    assert (result.verdict, result.samples) == (Verdict.PASSED, 1_425)
    assert result.value == pytest.approx(500 / 515)
    assert result.reason.startswith("all 2 surely agree in more than 90.00%; the lowest: part 97.09% of 515 pairs")


def test_a_good_average_hides_no_segment_that_goes_wrong() -> None:
    result = segments(KINDS, kinds(full=(9_000, 10), chargeback=(200, 200)))
    assert (result.verdict, result.value) == (Verdict.FAILED, 0.5)
    assert result.reason.startswith("1 of 2 surely agree in fewer than 90.00%: chargeback 50.00% of 400 pairs")


def test_segments_that_are_missing_are_named_the_worst_first() -> None:
    result = segments(KINDS, kinds(full=(900, 10), a=(19, 1), b=(47, 3), c=(30, 10), d=(20, 0)))
    assert result.verdict is Verdict.INCONCLUSIVE
    assert result.value == 0.75
    assert result.reason.startswith("4 of 5 do not surely agree in more than 90.00%: c has 40 of 50 pairs; ")
    assert "; b 94.00% of 50 pairs, surely " in result.reason
    assert result.reason.endswith("; a has 20 of 50 pairs; and 1 more")


def test_rare_segments_are_judged_together() -> None:
    evidence = kinds(full=(9_000, 10), a=(60, 0), b=(60, 0), other=(30, 0))
    (together,) = [segment for segment in judge(KINDS, evidence) if segment.name == OTHER]
    assert (together.ok, together.bad) == (150, 0)


def test_what_is_rare_even_together_is_not_waited_for() -> None:
    assert segments(KINDS, kinds(full=(9_000, 10), typo=(3, 1))).verdict is Verdict.PASSED
    enough_to_judge = kinds(full=(9_000, 10), typo=(10, 80))
    assert segments(KINDS, enough_to_judge).verdict is Verdict.FAILED


def test_segments_may_only_report() -> None:
    assert segments(Segments.model_validate({"by": "$.type", "dry_run": True}), Evidence()).dry_run


# Direction


def asked(worse: str = "either") -> Direction:
    return Direction.model_validate({"yes": ["approve"], "worse": worse})


def mistakes(agent_yes: int, agent_no: int, known: int = 1_000) -> Evidence:
    apart = agent_yes + agent_no
    cells = {("no", "no"): known, ("no", "approve"): agent_yes, ("approve", "no"): agent_no}
    return Evidence(matched=1_000, mismatched=apart, agent_yes=agent_yes, agent_no=agent_no, decisions=cells)


@pytest.mark.parametrize(
    ("evidence", "worse", "verdict"),
    [
        (mistakes(20, 22), "either", Verdict.PASSED),
        (mistakes(0, 0), "either", Verdict.PASSED),
        (mistakes(30, 0), "either", Verdict.FAILED),
        (mistakes(0, 30), "either", Verdict.FAILED),
        (mistakes(30, 0), "agent_yes", Verdict.FAILED),
        (mistakes(30, 0), "agent_no", Verdict.PASSED),
        (mistakes(9, 0), "agent_yes", Verdict.INCONCLUSIVE),
        (mistakes(0, 0, known=499), "either", Verdict.INCONCLUSIVE),
        (mistakes(30, 0, known=469), "either", Verdict.INCONCLUSIVE),
    ],
)
def test_direction(evidence: Evidence, worse: str, verdict: Verdict) -> None:
    assert direction(asked(worse), evidence, 500).verdict is verdict


def test_direction_tells_who_said_yes_alone() -> None:
    result = direction(asked(), mistakes(30, 2), 500)
    assert (result.value, result.threshold, result.samples) == (0.9375, 0.5, 1_032)
    assert result.reason == (
        "of 32 mistakes in 1032 pairs the agent alone said yes in 30, legacy alone in 2: surely more often yes"
    )


def test_direction_does_not_pass_where_no_decision_is_known() -> None:
    """Masked, or no single values: nobody can have said yes, so no mistakes are no balance."""
    result = direction(asked(), mistakes(0, 0, known=0), 500)
    assert (result.verdict, result.samples) == (Verdict.INCONCLUSIVE, 0)
    assert result.reason.endswith("(of 1000 more a decision is not known); 500 pairs to go")


# Kappa


def decided(both_yes: int, both_no: int, apart: int) -> Evidence:
    cells = {("y", "y"): both_yes, ("n", "n"): both_no, ("y", "n"): apart, ("n", "y"): apart}
    return Evidence(decisions=cells)


@pytest.mark.parametrize(
    ("evidence", "verdict"),
    [
        (Evidence(), Verdict.INCONCLUSIVE),
        (decided(1_000, 0, 0), Verdict.INCONCLUSIVE),  # one decision only: chance alone agrees as well
        (decided(490, 490, 10), Verdict.PASSED),
        (decided(240, 240, 5), Verdict.INCONCLUSIVE),  # fewer pairs than min_samples
        (decided(420, 420, 80), Verdict.INCONCLUSIVE),
        (decided(300, 300, 250), Verdict.FAILED),
    ],
)
def test_kappa(evidence: Evidence, verdict: Verdict) -> None:
    assert kappa(Floor.model_validate({"min": "70%"}), evidence, 500).verdict is verdict


def test_a_kappa_that_failed_names_no_bound_that_could_be_read_as_a_success() -> None:
    said = kappa(Floor.model_validate({"min": "70%"}), decided(300, 300, 250), 500).reason
    assert said == "kappa 0.091 of 1100 pairs, surely below 0.700"


def test_kappa_says_why_there_is_none() -> None:
    floor = Floor.model_validate({"min": "70%"})
    assert kappa(floor, Evidence(), 500).reason == "no comparable pairs yet; more than 0.700 must be sure"
    assert kappa(floor, decided(1_000, 0, 0), 500).reason == (
        "no two different decisions in 1000 pairs, so chance alone would agree as well"
    )


def test_kappa_shows_its_bound() -> None:
    result = kappa(Floor.model_validate({"min": "70%", "dry_run": True}), decided(490, 490, 10), 500)
    assert result.value == pytest.approx(0.96)
    assert result.bound is not None
    assert result.reason == f"kappa 0.960 of 1000 pairs, surely {result.bound:.3f}, above 0.700"
    assert result.dry_run
