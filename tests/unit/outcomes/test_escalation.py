"""The one word for why a request was handed over."""

import pytest

from proxy.model.records import Outcome, Record
from proxy.model.words import Failure
from proxy.outcomes.escalation import REASONS, reason


def record(error: str, why: str) -> Record:
    return Record(
        "r1", "0" * 32, "refunds", *("v1", "canary", 1), 1e9, "POST", "/refunds", "abcd", 7, "legacy", "fallback",
        "bucket_in", "sampled_out", legacy=Outcome(200, 0.01), agent=Outcome(0, 0.02, error), escalation=("e1", why),
    )  # fmt: skip


@pytest.mark.parametrize("failure", list(Failure))
def test_it_is_the_agent_s_failure(failure: Failure) -> None:
    assert reason(record(failure.value, "as it was said")) == failure.value
    assert failure.value in REASONS


def test_too_little_confidence_has_a_word_of_its_own() -> None:
    assert reason(record("escalation", "confidence 0.4")) == "confidence"
    assert reason(record("timeout", "confidence 0.4")) == "timeout"


def test_it_is_always_one_of_the_few() -> None:
    assert reason(record("whatever a newer worker says", "why")) == "escalation"
    assert reason(record("timeout", "why")._replace(agent=None)) == "escalation"
