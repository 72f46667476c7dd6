import pytest

from benchmarks.errors import BenchError
from benchmarks.load.measure import per_request


def test_cpu_per_request_is_of_what_was_spent_in_between() -> None:
    assert per_request({"worker": 1.0, "control": 0.5}, {"worker": 3.0, "control": 0.5}, 100_000) == {
        "worker": pytest.approx(20.0),
        "control": 0.0,
    }


def test_a_run_without_requests_is_no_run() -> None:
    with pytest.raises(BenchError, match="not one request"):
        per_request({"worker": 1.0}, {"worker": 1.0}, 0)
