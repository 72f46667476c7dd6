"""From the configuration's rollout section to the plan."""

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


def test_gates_and_guards_are_taken_over() -> None:
    rollout = Rollout.model_validate(
        {
            "agent": "a",
            "version": "v7",
            "salt": "s",
            "gates": {"min_samples": 50, "agreement": "90%"},
            "guard": {"error_rate": {"margin": "1%"}, "latency": {"slower_than": "5s", "margin": "2%"}},
        }
    )
    gates = plan("refunds", rollout).gates
    assert (gates.min_samples, gates.agreement, gates.error_margin, gates.slow_margin) == (50, 0.9, 0.01, 0.02)


def test_without_a_latency_guard_there_is_no_latency_margin() -> None:
    assert plan("r", Rollout.model_validate({"agent": "a", "version": "1", "salt": "s"})).gates.slow_margin is None


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
