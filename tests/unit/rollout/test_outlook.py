"""What an operator asks first: where does it go next, and what does it wait for?"""

from dataclasses import replace

import pytest

from proxy.model.rollouts import Evidence, GateResult, Users
from proxy.model.words import Phase, Verdict
from proxy.rollout.gates import evaluate
from proxy.rollout.outlook import following, waits_for
from tests.unit.rollout.examples import FIXED, GOOD, NOW, PLAN, USERS, at_stage

CANARY = at_stage(1)


def gate(name: str, verdict: Verdict = Verdict.INCONCLUSIVE, **numbers: float | bool) -> GateResult:
    empty = {"value": None, "bound": None, "threshold": None, "samples": 10}
    return GateResult(name, verdict, **(empty | {"reason": "so it is"} | numbers))  # type: ignore[arg-type]


@pytest.mark.parametrize(("stage", "name"), [(0, "canary"), (1, "half"), (2, "full"), (3, None)])
def test_the_next_stage(stage: int, name: str | None) -> None:
    found = following(PLAN, at_stage(stage))
    assert (found.name if found else None) == name


def test_there_is_none_where_nothing_comes_next() -> None:
    assert following(FIXED, CANARY) is None
    assert following(PLAN, replace(CANARY, phase=Phase.COMPLETED)) is None
    assert following(PLAN, replace(CANARY, phase=Phase.DEGRADED)) is None
    assert following(replace(PLAN, version="v2"), CANARY) is None


@pytest.mark.parametrize(
    ("phase", "said"),
    [
        (Phase.COMPLETED, ""),
        (Phase.DEGRADED, "an operator (retry), or a new version"),
        (Phase.PAUSED, "an operator (resume, or promote)"),
    ],
)
def test_where_no_gate_helps(phase: Phase, said: str) -> None:
    assert waits_for(PLAN, replace(CANARY, phase=phase), (gate("agreement"),)) == said


def test_a_fixed_split_waits_for_its_operator() -> None:
    assert waits_for(FIXED, CANARY, ()) == "an operator (split.weight in the configuration)"


def test_of_another_version_it_is_said_that_this_one_is_not_what_is_rolled_out() -> None:
    other = replace(PLAN, version="v2")
    assert waits_for(other, CANARY, ()) == (
        f"version v2 to begin; what is rolled out is {CANARY.version}: all replicas need the same configuration"
    )


def test_of_a_stage_that_has_just_begun_nothing_is_known() -> None:
    assert waits_for(PLAN, CANARY, ()) == "the first look at its gates"


def test_a_stage_whose_gates_have_passed_waits_for_nothing() -> None:
    soaked = replace(CANARY, soaked=3600.0)
    assert waits_for(PLAN, soaked, evaluate(PLAN, soaked, GOOD, USERS, NOW)) == "nothing: it moves with the next look"


def test_gates_that_are_missing_say_how_much() -> None:
    seen = Evidence(GOOD.legacy, replace(GOOD.agent, requests=40, failed=0), matched=100, mismatched=3)
    gates = evaluate(PLAN, replace(CANARY, soaked=2880.0), seen, Users(), NOW)
    bound = next(result.bound for result in gates if result.name == "agreement")
    assert waits_for(PLAN, CANARY, gates).startswith(
        "soak (12m to go), min_samples (460 to go), "
        f"agreement (surely {bound:.2%}, more than 95.00% must be sure), error_rate (too little was seen to tell)"
    )


@pytest.mark.parametrize(
    ("missing", "said"),
    [
        (gate("kappa", bound=0.5, threshold=0.6), "surely 0.500, more than 0.600 must be sure"),
        (gate("segments", bound=0.5, threshold=0.9), "the worst surely 50.00%, more than 90.00% must be sure"),
        (gate("key_coverage", bound=0.5, threshold=0.9), "surely 50.00%, more than 90.00% must be sure"),
        (gate("fallback_rate", bound=0.5, threshold=0.1), "surely at most 50.00%, at most 10.00% must be sure"),
        (gate("error_rate", value=0.02, threshold=0.01), "2.00%, at most 1.00% is allowed"),
        (gate("error_rate", value=0.02), "too little was seen to tell"),
        (gate("latency", samples=0), "nothing was seen yet"),
        (gate("direction", value=0.5, threshold=0.5), "too little was seen to tell"),
        (gate("kappa", bound=0.7, threshold=0.6), "too little was seen to tell"),
        (gate("segments", bound=0.95, threshold=0.9), "too little was seen to tell"),
        (gate("fallback_rate", bound=0.05, threshold=0.1), "too little was seen to tell"),
        (gate("sample_ratio", value=0.5, threshold=0.05), "the split is not the one asked for"),
        (gate("approval"), "an operator must promote"),
        (gate("freeze"), "so it is"),
        (gate("agreement", Verdict.FAILED, bound=0.5, threshold=0.9), "failed: so it is"),
    ],
)
def test_every_gate_in_a_few_words(missing: GateResult, said: str) -> None:
    assert waits_for(PLAN, CANARY, (missing,)) == f"{missing.name} ({said})"


def test_what_only_reports_is_not_waited_for() -> None:
    assert waits_for(PLAN, CANARY, (gate("kappa", dry_run=True), gate("freeze"))) == "freeze (so it is)"


def test_gates_that_miss_the_same_are_told_together() -> None:
    missing = (gate("agreement", samples=0), gate("soak", value=1.0, threshold=3.0), gate("kappa", samples=0))
    assert waits_for(PLAN, CANARY, missing) == "agreement, kappa (nothing was seen yet), soak (2s to go)"
