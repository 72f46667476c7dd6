"""From the configuration's rollout section to the plan."""

import os
import subprocess
import sys

from proxy.config.rollout_schema import Rollout
from proxy.rollout.plan import Split, plan


def test_the_default_stages_become_the_plan() -> None:
    made = plan("refunds", Rollout.model_validate({"agent": "a", "version": "v7", "salt": "s"}))
    assert (made.route, made.version, made.shadow, made.split) == ("refunds", "v7", 100_000, None)
    assert [(stage.name, stage.weight, stage.soak) for stage in made.stages][:2] == [
        ("shadow", 0, 86_400.0),
        ("canary", 5_000, 3_600.0),
    ]
    assert made.stages[made.last].name == "full"


def rollout(**sections: object) -> Rollout:
    return Rollout.model_validate({"agent": "a", "version": "v7", "salt": "s", **sections})


def test_gates_are_taken_over_with_the_margins_of_the_guard() -> None:
    gates = plan(
        "refunds",
        rollout(
            gates={"min_samples": 50, "agreement": "90%"},
            guard={"error_rate": {"margin": "1%"}, "latency": {"slower_than": "5s", "margin": "2%"}},
        ),
    ).gates
    assert gates.latency is not None
    assert (gates.min_samples, gates.agreement.min, gates.error_rate.margin, gates.latency.margin) == (
        50, 0.9, 0.01, 0.02,
    )  # fmt: skip


def test_a_gate_that_says_something_of_its_own_takes_no_margin_of_the_guard() -> None:
    gates = plan("r", rollout(gates={"error_rate": {"max": "3%", "dry_run": True}})).gates
    assert (gates.error_rate.margin, gates.error_rate.max, gates.error_rate.dry_run) == (None, 0.03, True)
    reported = plan("r", rollout(gates={"error_rate": {"dry_run": True}})).gates.error_rate
    assert (reported.margin, reported.dry_run) == (0.002, True)


def test_without_a_latency_guard_there_is_no_latency_gate() -> None:
    assert plan("r", rollout()).gates.latency is None


def test_gates_that_nobody_asked_for_are_none() -> None:
    gates = plan("r", rollout()).gates
    assert [gates.segments, gates.direction, gates.kappa, gates.fallback_rate, gates.key_coverage] == [None] * 5


def test_a_holdback_cuts_the_last_stage() -> None:
    made = plan("r", rollout(holdback=1))
    assert [stage.weight for stage in made.stages] == [0, 5_000, 10_000, 25_000, 50_000, 99_000]
    assert plan("r", rollout(holdback=1, split={"weight": 100})).split == Split(99_000, 100_000)


def test_what_gates_do_and_when_they_stand_still() -> None:
    made = plan("r", rollout())
    assert (made.pause_on_failure, made.pause_on_inconclusive, made.freeze.windows) == (False, False, ())
    made = plan(
        "r",
        rollout(
            on_failure="pause",
            on_inconclusive="pause",
            freeze=["Fri 16:00 - Mon 08:00"],
            timezone="Europe/Berlin",
            stages=[{"name": "a", "weight": 0, "soak": "1h", "approval": "manual"}, {"name": "b", "weight": 100}],
        ),
    )
    assert (made.pause_on_failure, made.pause_on_inconclusive, made.freeze.timezone) == (True, True, "Europe/Berlin")
    assert [window.text for window in made.freeze.windows] == ["Fri 16:00 - Mon 08:00"]
    assert [stage.manual for stage in made.stages] == [True, False]


def test_a_fixed_split_has_no_stages_and_its_own_shadow() -> None:
    rollout = Rollout.model_validate(
        {
            "agent": "a",
            "version": "v7",
            "salt": "s",
            "shadow": {"percent": 80},
            "split": {"shadow": 20, "weight": 5},
        }
    )
    made = plan("refunds", rollout)
    assert made.split == Split(weight=5_000, shadow=20_000)
    assert (made.stages, made.last, made.shadow) == ((), 0, 20_000)


def test_what_the_counts_of_evidence_mean_has_a_digest() -> None:
    known = plan("r", rollout()).measured
    for other in (
        rollout(agent="b"),
        rollout(key=[{"header": "x-user"}]),
        rollout(salt="other"),
        rollout(compare={"decision": "$.decision"}),
        rollout(compare={"fields": {"ignore": ["$.id"]}}),
        rollout(compare={"fields": {"sets": ["$.tags"]}}),
        rollout(compare={"fields": {"normalize": {"$.city": ["case"]}}}),
        rollout(compare={"decision": "status"}),
        rollout(compare={"decision": {"header": "x-decision"}}),
        rollout(compare={"decision": "$.decision"}, pending={}),
        rollout(escalate={"header": "x-human"}),
        rollout(fallback={"on": ["timeout"]}),
        rollout(guard={"latency": {"slower_than": "5s"}}),
        rollout(gates={"segments": {"by": "$.type"}}),
        rollout(gates={"direction": {"yes": ["approve"]}}),
    ):
        assert plan("r", other).measured != known
    for same in (
        rollout(version="v8"),
        rollout(key=["client_ip"]),
        rollout(record={"max_pairs": 500}),
        rollout(shadow={"timeout": "5s"}, fallback={"max_body": "2MiB"}),
        rollout(gates={"min_samples": 5, "agreement": "50%"}, guard={"error_rate": {"margin": "1%"}}),
        rollout(freeze=["Fri 16:00 - Mon 08:00"], holdback=1),
    ):
        assert plan("r", same).measured == known
    decided = plan("r", rollout(compare={"decision": "$.decision"})).measured
    named = {"decision": "$.decision", "labels": {"approve": ["ok"]}}
    assert plan("r", rollout(compare=named)).measured != decided
    assert plan("r", rollout(compare={"decision": "$.decision"}, pending={})).measured != decided
    weighed = {"decision": "$.decision", "cost": {"approve->deny": 10}}
    assert plan("r", rollout(compare=weighed)).measured == decided  # counts are weighed when they are read
    latency = {"slower_than": "5s"}
    asked = plan("r", rollout(guard={"latency": latency})).measured
    assert plan("r", rollout(guard={"latency": {**latency, "margin": "2%"}})).measured == asked


def test_the_digest_is_the_same_in_every_process() -> None:
    """Sets have another order in each: replicas would take turns to begin anew."""
    code = (
        "from proxy.config.rollout_schema import Rollout\n"
        "from proxy.rollout.plan import plan\n"
        "said = {'agent': 'a', 'version': 'v', 'salt': 's', 'fallback': {'on': ['timeout', 'overload']}}\n"
        "print(plan('r', Rollout.model_validate(said)).measured)"
    )
    seen = {
        subprocess.run(
            [sys.executable, "-c", code], env={**os.environ, "PYTHONHASHSEED": seed}, check=True, capture_output=True
        ).stdout
        for seed in ("1", "2", "3", "4")
    }
    assert len(seen) == 1
