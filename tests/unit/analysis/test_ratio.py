"""The split that came about against the one asked for."""

from math import inf
from random import Random

import pytest

from proxy.analysis.ratio import THRESHOLD, log_evidence


def test_a_right_split_is_never_called_wrong() -> None:
    rng = Random("right")
    for _ in range(40):
        agent = 0
        for users in range(1, 3_001):
            agent += rng.random() < 0.05
            if users % 10 == 0:
                assert log_evidence(agent, users, 0.05) < THRESHOLD


@pytest.mark.parametrize(("agent", "users", "expected"), [(600, 10_000, 0.05), (380, 10_000, 0.05), (700, 1_000, 0.5)])
def test_another_split_is_found(agent: int, users: int, expected: float) -> None:
    assert log_evidence(agent, users, expected) > THRESHOLD


def test_it_does_not_matter_which_arm_is_counted() -> None:
    assert log_evidence(620, 1_000, 0.5) == pytest.approx(log_evidence(380, 1_000, 0.5))
    assert log_evidence(70, 1_000, 0.05) == pytest.approx(log_evidence(930, 1_000, 0.95))


@pytest.mark.parametrize(
    ("agent", "users", "expected", "evidence"),
    [(0, 0, 0.5, 0.0), (0, 500, 0.0, 0.0), (1, 500, 0.0, inf), (500, 500, 1.0, 0.0), (499, 500, 1.0, inf)],
)
def test_nothing_and_arms_that_should_have_nobody(agent: int, users: int, expected: float, evidence: float) -> None:
    assert log_evidence(agent, users, expected) == pytest.approx(evidence)
