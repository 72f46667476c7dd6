"""What only shows when the sections of one rollout are seen together."""

import pytest

from proxy.config.load import masked
from proxy.config.rollout_schema import Rollout
from tests.unit.config.texts import loaded, problems, with_rollout


def said(lines: str) -> list[str]:
    """All that is wrong with these lines of a rollout, without their place in the file."""
    return [problem.partition("routes[0].rollout.")[2] for problem in problems(with_rollout(lines))]


def rollout(lines: str) -> Rollout:
    found = loaded(with_rollout(lines)).routes[0].rollout
    assert found is not None
    return found


def test_a_latency_gate_needs_to_know_what_is_slow() -> None:
    assert said("gates: {latency: {margin: 1%}}") == [
        "gates.latency: needs guard.latency, which says from when on an answer is slow"
    ]
    assert said("gates: {latency: {dry_run: true}}") != []
    both = "guard: {latency: {slower_than: 5s}}\ngates: {latency: {max: 2%}}"
    assert rollout(both).gates.latency.max == 0.02


@pytest.mark.parametrize(
    ("gate", "sentence"),
    [
        ("kappa: 60%", 'kappa: "60%" needs compare.decision, whose values are set against what chance would give'),
        ("direction: {yes: [a]}", "direction: needs compare.decision, the value that says yes or no"),
    ],
)
def test_gates_of_the_decision_need_one(gate: str, sentence: str) -> None:
    assert said(f"gates: {{{gate}}}") == [f"gates.{sentence}"]
    assert rollout(f"compare: {{decision: $.decision}}\ngates: {{{gate}}}").gates != rollout("").gates


@pytest.mark.parametrize(
    ("nothing", "key"),
    [
        ("record: {percent: 0}", "record.percent"),
        ("record: {max_body: 0}", "record.max_body"),
        ("shadow: {percent: 0}", "shadow.percent"),
        ("split: {weight: 5, shadow: 0}", "split.shadow"),
    ],
)
def test_gates_of_recorded_pairs_need_some(nothing: str, key: str) -> None:
    gates = "compare: {decision: $.d}\ngates: {segments: {by: $.type}, direction: {yes: [a]}, kappa: 60%}"
    assert sorted(said(f"{nothing}\n{gates}")) == [
        f"gates.direction: needs recorded pairs, and there will be none: {key} is 0",
        f'gates.kappa: "60%" needs recorded pairs, and there will be none: {key} is 0',
        f"gates.segments: needs recorded pairs, and there will be none: {key} is 0",
    ]
    assert rollout(gates).gates.segments is not None
    assert rollout(f"{nothing}").gates.segments is None


def test_a_late_decision_needs_one_to_be_compared_with_and_a_pair_that_is_still_there() -> None:
    pending = "pending: {expires: 14d}"
    assert said(pending) == ["pending: needs compare.decision, which the human's late decision is compared with"]
    with_decision = f"{pending}\ncompare: {{decision: $.d}}"
    assert said(f"{with_decision}\nrecord: {{percent: 0}}") == [
        "pending: needs recorded pairs, and there will be none: record.percent is 0"
    ]
    assert said(f"{with_decision}\nrecord: {{max_age: 7d}}") == [
        (
            'pending.expires: "14d" is longer than the 7d of record.max_age, after which a pair is gone, and cannot be'
            " decided"
        )
    ]
    assert rollout(with_decision).pending is not None


def test_a_holdback_cuts_the_last_stage_and_no_other() -> None:
    assert said("holdback: 60") == [
        "holdback: 60 leaves the agent 40 percent, fewer than the 50 of stage expand-50; only the last stage may be cut"
    ]
    assert said("holdback: 100") == ["holdback: 100 leaves the agent no users; write less"]
    assert rollout("holdback: 50").holdback == 50_000
    assert rollout("holdback: 1\nstages: [{name: a, weight: 100, soak: 1h}, {name: b, weight: 100}]").holdback == 1_000


def test_a_split_and_a_holdback_do_not_promise_users_twice() -> None:
    assert said("holdback: 5\nsplit: {weight: 96}") == [
        "split.weight: 96 is more than the 95 percent that holdback leaves; lower one of them"
    ]
    assert rollout("holdback: 5\nsplit: {weight: 95}").split is not None


def test_the_approval_of_a_last_stage_that_is_complete_at_once_comes_too_late() -> None:
    (sentence,) = said("stages: [{name: a, weight: 0, soak: 1h}, {name: b, weight: 100, approval: manual}]")
    assert sentence == (
        'stages[1].approval: "manual" has nothing to wait for, since a last stage without soak is complete when it is'
        " entered; put it on the stage before, or give this one a soak"
    )
    assert rollout("stages: [{name: a, weight: 100, soak: 1h, approval: manual}]").stages[0].approval == "manual"


def test_a_pause_for_want_of_evidence_gives_time_for_some() -> None:
    assert said("on_inconclusive: pause\nstages: [{name: a, weight: 0}, {name: b, weight: 100}]") == [
        'on_inconclusive: "pause" would pause stage a before anything is seen there; give it a soak'
    ]
    assert rollout("on_inconclusive: pause").on_inconclusive == "pause"
    assert rollout("on_inconclusive: pause\nsplit: {weight: 5}").on_inconclusive == "pause"


def test_a_configuration_that_is_shown_is_accepted_again() -> None:
    """Defaults that are written out ask for nothing: `latency: {dry_run: false}` needs no guard."""
    config = loaded(with_rollout("gates: {agreement: {min: 90%, dry_run: true}, fallback_rate: 5%}\nholdback: 1"))
    document = masked(config)
    gates = document["routes"][0]["rollout"]["gates"]
    assert (gates["agreement"], gates["fallback_rate"]) == ({"dry_run": True, "min": "90%"}, "5%")
    assert loaded(str(document)) == config
