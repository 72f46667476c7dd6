"""What decisions make of a pair, whatever their order."""

from itertools import permutations
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from proxy.config.rollout_schema import Rollout
from proxy.outcomes import closing, pairing
from proxy.outcomes.closing import Settled, expire, merged, settle, share
from proxy.outcomes.late import LateOutcome

RULES = pairing.rules(
    Rollout.model_validate(
        {"agent": "a", "version": "v1", "salt": "s", "compare": {"decision": "$.d"}, "pending": {"expires": "1d"}}
    )
)
UNTIL = 1_800_000_000.0


def document(agent: Any = "yes", unfit: str = "") -> dict[str, Any]:
    return {
        "verdict": "pending", "segment": None, "differences": [],
        "agent": {"decision": agent}, "legacy": {"status": 202, "decision": None},
        "pending": {"until": "2027-01-15T08:00:00.000Z", "unfit": unfit},
    }  # fmt: skip


def outcome(decision: Any, at: float = 0.0, received: float = 0.0) -> LateOutcome:
    return LateOutcome("ref", decision, UNTIL + at, UNTIL + received, "", "api")


def settled(*outcomes: LateOutcome, of: dict[str, Any] | None = None) -> tuple[dict[str, Any] | None, list[Settled]]:
    state, steps = None, []
    for each in outcomes:
        steps.append(settle(of or document(), state, each, RULES))
        state = steps[-1].state or state
    return state, steps


@given(
    st.lists(
        st.tuples(st.sampled_from(["yes", "no"]), st.integers(-5, 5), st.sampled_from([-1.0, 0.0, 1.0])),
        min_size=1, max_size=6, unique_by=lambda drawn: drawn[1],
    )
)  # fmt: skip
def test_the_order_in_which_they_are_joined_does_not_matter(drawn: list[tuple[str, int, float]]) -> None:
    outcomes = [outcome(*each) for each in drawn]
    ends = [settled(*order)[0] for order in list(permutations(outcomes))[:24]]
    assert all(end == ends[0] for end in ends)
    last = max(drawn, key=lambda each: each[1])[0]
    in_time = any(received <= 0 for _, _, received in drawn)
    assert ends[0] is not None
    assert ends[0]["verdict"] == ("expired" if not in_time else "matched" if last == "yes" else "mismatched")


def test_each_step_takes_away_what_the_one_before_it_counted() -> None:
    _, steps = settled(outcome("no", 1), outcome("yes", 2), outcome("no", 0), outcome("no", 3))
    assert [step.result for step in steps] == ["mismatched", "revised", "revised", "revised"]
    assert [step.before for step in steps[1:]] == [step.after for step in steps[:-1]]
    assert [step.verdict for step in steps] == ["mismatched", "matched", None, "mismatched"]


def test_what_is_known_changes_nothing() -> None:
    state, steps = settled(outcome("yes", 1, -2), outcome("yes", 1, -1))
    assert steps[1] == Settled("duplicate")
    assert state is not None
    assert len(state["revisions"]) == 1


def test_an_answer_that_never_fits_is_incomparable_and_says_why() -> None:
    state, (step,) = settled(outcome("no"), of=document(None, unfit="agent failed with status 503"))
    assert state is not None
    assert (step.result, state["verdict_reason"], state["legacy_decision"]) == (
        "incomparable", "agent failed with status 503", "no",
    )  # fmt: skip


def test_nobody_decided() -> None:
    step = expire(document(), None)
    assert step.state is not None
    assert (step.verdict, step.after, step.state["verdict"]) == ("expired", None, "expired")
    assert expire(document(), step.state) == Settled("expired")


def test_revisions_of_another_pair_of_the_case_are_taken_over_as_they_are() -> None:
    state, _ = settled(outcome("no", 1), outcome("yes", 2))
    assert state is not None
    step = share(document("no"), None, state["revisions"], RULES)
    assert step.state is not None
    assert (step.result, step.state["revisions"]) == ("mismatched", state["revisions"])
    assert share(document(), state, step.state["revisions"], RULES) == Settled("duplicate")


def test_a_pair_that_never_waited_takes_no_decision() -> None:
    with pytest.raises(ValueError, match="waits"):
        settle({"verdict": "matched"}, None, outcome("yes"), RULES)


def test_the_pair_as_it_is_shown() -> None:
    state, _ = settled(outcome("no", 1))
    assert state is not None
    shown = merged(document(), state)
    assert (shown["verdict"], shown["legacy"]) == ("mismatched", {"status": 202, "decision": "no"})
    assert shown["differences"] == [{"path": "$.d", "legacy": "no", "agent": "yes"}]
    assert {"counted", "expired", "legacy_decision"}.isdisjoint(shown)


def test_of_many_the_latest_are_kept() -> None:
    outcomes = [outcome(f"d{at}", at) for at in range(closing.MAX_REVISIONS + 5)]
    state, steps = settled(*reversed(outcomes))
    assert state is not None
    assert [each["decision"] for each in state["revisions"]] == [each.decision for each in outcomes[5:]]
    assert [step.result for step in steps[-5:]] == ["over_limit"] * 5
