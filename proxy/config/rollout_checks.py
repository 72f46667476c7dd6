"""What is wrong with a rollout although each of its sections by itself is right: gates that can never be judged, stages
that a holdback makes the same, an approval or a pause that comes too late or too soon.

As with an UnfitError, a sentence has no subject. Paths start at the rollout.
"""

from collections.abc import Iterator

from proxy.config.gates_schema import Allowance
from proxy.config.interpolate import Problem
from proxy.config.rollout_schema import Rollout
from proxy.config.units import format_duration, format_percent
from proxy.model.snapshot import BUCKETS


def check_rollout(rollout: Rollout) -> Iterator[Problem]:
    yield from _compare(rollout)
    yield from _pending(rollout)
    yield from _gates(rollout)
    yield from _holdback(rollout)
    if rollout.split is None:
        yield from _stages(rollout)


def _compare(rollout: Rollout) -> Iterator[Problem]:
    compare = rollout.compare
    for name, why in (("labels", "the value that it names"), ("cost", "by which a miss is told")):
        if getattr(compare, name) and compare.decision is None:
            yield Problem(("compare", name), f"needs compare.decision, {why}")


def _pending(rollout: Rollout) -> Iterator[Problem]:
    pending, record = rollout.pending, rollout.record
    if pending is None:
        return
    if rollout.compare.decision is None:
        yield Problem(("pending",), "needs compare.decision, which the human's late decision is compared with")
    if record.percent == 0:
        yield Problem(("pending",), "needs recorded pairs, and there will be none: record.percent is 0")
    if pending.expires > record.max_age:
        kept = format_duration(record.max_age)
        told = f"is longer than the {kept} of record.max_age, after which a pair is gone, and cannot be decided"
        yield Problem(("pending", "expires"), told)


def _gates(rollout: Rollout) -> Iterator[Problem]:
    gates = rollout.gates
    if gates.latency != Allowance() and rollout.guard.latency is None:
        yield Problem(("gates", "latency"), "needs guard.latency, which says from when on an answer is slow")
    for name, why in (
        ("direction", "the value that says yes or no"),
        ("kappa", "whose values are set against what chance would give"),
    ):
        if getattr(gates, name) is not None and rollout.compare.decision is None:
            yield Problem(("gates", name), f"needs compare.decision, {why}")
    if nothing := _no_pairs(rollout):
        for name in ("segments", "direction", "kappa"):
            if getattr(gates, name) is not None:
                yield Problem(("gates", name), f"needs recorded pairs, and there will be none: {nothing} is 0")


def _no_pairs(rollout: Rollout) -> str:
    """The key that leaves no pairs with bodies, if one does."""
    if rollout.record.percent == 0:
        return "record.percent"
    if rollout.record.max_body == 0:
        return "record.max_body"
    if rollout.split is not None:
        return "split.shadow" if rollout.split.shadow == 0 else ""
    return "shadow.percent" if rollout.shadow.percent == 0 else ""


def _holdback(rollout: Rollout) -> Iterator[Problem]:
    """Cutting the last stage is what a holdback is for; cutting an earlier one would make two stages the same."""
    most, shown = BUCKETS - rollout.holdback, format_percent(BUCKETS - rollout.holdback)
    if most == 0:
        yield Problem(("holdback",), "leaves the agent no users; write less")
        return
    if rollout.split is not None:
        if rollout.split.weight > most:
            yield Problem(
                ("split", "weight"), f"is more than the {shown} percent that holdback leaves; lower one of them"
            )
        return
    last = rollout.stages[-1].weight
    for stage in rollout.stages:
        if most < stage.weight < last:
            told = (
                f"leaves the agent {shown} percent, fewer than the {format_percent(stage.weight)} of stage {stage.name}"
            )
            yield Problem(("holdback",), f"{told}; only the last stage may be cut")
            return


def _stages(rollout: Rollout) -> Iterator[Problem]:
    *earlier, last = rollout.stages
    if last.approval == "manual" and last.soak == 0:
        told = "has nothing to wait for, since a last stage without soak is complete when it is entered"
        yield Problem(
            ("stages", len(earlier), "approval"), f"{told}; put it on the stage before, or give this one a soak"
        )
    if rollout.on_inconclusive == "pause":
        for stage in earlier:
            if stage.soak == 0:
                told = f"would pause stage {stage.name} before anything is seen there; give it a soak"
                yield Problem(("on_inconclusive",), told)
                return
