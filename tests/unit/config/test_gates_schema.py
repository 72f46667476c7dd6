"""What decides, as it is configured."""

from tests.unit.config.texts import SMALL, rollout_of, with_rollout


def test_no_latency_is_guarded_unless_it_is_said_what_is_slow() -> None:
    assert rollout_of(SMALL).guard.latency is None
    latency = rollout_of(with_rollout("guard: {latency: {slower_than: 5s}}")).guard.latency
    assert latency is not None
    assert (latency.slower_than, latency.margin) == (5.0, 0.01)


def test_readiness_off_is_text_and_not_a_boolean() -> None:
    assert rollout_of(with_rollout("gates: {readiness: off}")).gates.readiness == "off"


def test_a_share_is_short_for_a_gate() -> None:
    short = rollout_of(with_rollout("gates: {agreement: 90%, escalation_rate: 20%}")).gates
    written = rollout_of(with_rollout("gates: {agreement: {min: 90%}, escalation_rate: {max: 20%}}")).gates
    assert short == written
    assert short.escalation_rate is not None
    assert (short.agreement.min, short.agreement.dry_run, short.escalation_rate.max) == (0.9, False, 0.2)
    reported = rollout_of(with_rollout("gates: {agreement: {min: 90%, dry_run: true}}")).gates
    assert (reported.agreement.min, reported.agreement.dry_run) == (0.9, True)


def test_a_decision_that_is_a_yes_may_be_of_any_type() -> None:
    direction = rollout_of(
        with_rollout("compare: {decision: $.d}\ngates: {direction: {yes: [approve, true, 1, 2.5]}}")
    ).gates.direction
    assert direction is not None
    assert [(type(value), value) for value in direction.yes] == [(str, "approve"), (bool, True), (int, 1), (float, 2.5)]
