"""Each kind of request must agree, whatever the average says."""

from proxy.analysis import agreement, segments
from proxy.model.rollouts import OTHER
from proxy.model.words import Verdict


def judge(**counts: tuple[int, int]) -> tuple[segments.Segment, ...]:
    return segments.judge(counts, 0.9, 0.05, 0.001)


def verdicts(**counts: tuple[int, int]) -> dict[str, str]:
    return {segment.name: segment.verdict.value for segment in judge(**counts)}


def test_one_kind_that_goes_wrong_fails_all_though_the_average_is_good() -> None:
    assert verdicts(big=(9_990, 10), small=(120, 80)) == {"small": "failed", "big": "passed"}
    assert segments.verdict(judge(big=(9_990, 10), small=(120, 80))) is Verdict.FAILED


def test_all_must_pass() -> None:
    assert segments.verdict(judge(a=(990, 10), b=(500, 2))) is Verdict.PASSED
    assert segments.verdict(judge(a=(990, 10), b=(60, 2))) is Verdict.INCONCLUSIVE
    assert segments.verdict(judge()) is Verdict.INCONCLUSIVE


def test_a_kind_with_too_few_pairs_is_inconclusive_however_they_went() -> None:
    assert verdicts(a=(990, 10), b=(0, 49))["b"] == "inconclusive"
    assert verdicts(a=(990, 10), b=(0, 50))["b"] == "failed"


def test_small_kinds_are_judged_together_with_what_was_not_kept_apart() -> None:
    counts = {"a": (5_000, 10), "b": (30, 1), "c": (25, 0), OTHER: (200, 4), "never": (0, 0)}
    found = {each.name: (each.ok, each.bad) for each in segments.judge(counts, 0.9, 0.05, 0.001)}
    assert found == {"a": (5_000, 10), OTHER: (255, 5)}


def test_the_more_kinds_the_more_each_must_show() -> None:
    (alone,) = judge(a=(100, 2))
    one_of_four = next(each for each in judge(a=(100, 2), b=(100, 2), c=(100, 2), d=(100, 2)) if each.name == "a")
    assert one_of_four.lower_bound < alone.lower_bound
    assert one_of_four.lower_bound == agreement.lower_bound(100, 2, 0.05 / 4)
