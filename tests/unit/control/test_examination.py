"""What of a stage's evidence is a metric."""

from typing import Any, cast

import pytest

from proxy.control.examination import Examination, Seen
from proxy.model.rollouts import Evidence, Users
from proxy.telemetry.exposition import PREFIX
from proxy.telemetry.families import CONSISTENCY
from proxy.telemetry.metrics import Metrics
from tests.fakes import FakeClock
from tests.unit.rollout.examples import PLAN, at_stage
from tests.unit.telemetry.test_metrics import samples


@pytest.mark.parametrize(
    ("seen", "shown"),
    [
        (Evidence(matched=9, mismatched=1, repeats=200, repeats_alike=190), {"agreement": 0.9, "consistency": 0.95}),
        (Evidence(matched=9, mismatched=1), {"agreement": 0.9}),
        (Evidence(), {}),
    ],
)
def test_agreement_with_legacy_and_with_itself(seen: Evidence, shown: dict[str, float]) -> None:
    metrics = Metrics(process=False)
    examination = Examination(cast("Any", None), metrics, FakeClock())  # the store is not asked
    examination.judge(PLAN, at_stage(0), Seen(seen, Users()), leads=False)
    names = {"crossfade_agreement_ratio": "agreement", PREFIX + CONSISTENCY.name: "consistency"}
    assert {names[each.name]: each.value for each in samples(metrics) if each.name in names} == shown
