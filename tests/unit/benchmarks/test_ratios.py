import pytest

from benchmarks.load.cases import CASES, Measure
from benchmarks.load.measure import Run
from benchmarks.load.ratios import Reference, Sample, Samples, Spread, spread
from benchmarks.load.wrk import Load

MIRROR, PAIRS = (next(case for case in CASES if case.name == name) for name in ("mirror-post", "pairs-post"))


def sample(case: str, peer: str, number: int, cpu: float, noise: float = 1.0, p50: float = 5.0) -> Sample:
    """A run that costs `cpu` µs on a quiet machine, made while everything took `noise` times as long."""
    load = Load(requests=1000, per_second=1e6 / cpu / noise, p50=p50 * noise, p99=9, errors=0)
    run = Run(memory={"worker": 50 << 20}, cpu={"worker": cpu * noise}, load=load)
    return Sample(case, peer, number, run, (Reference(10 * noise, 1 * noise, 1e5 / noise),) * 2)


def test_a_machine_that_slows_down_between_two_runs_changes_no_ratio() -> None:
    samples = Samples([sample(MIRROR.name, "crossfade", 0, 60), sample(MIRROR.name, "nginx", 0, 100, noise=1.7)])
    assert samples.to_peer(MIRROR, "crossfade", "nginx") == spread([0.6])


def test_rounds_are_compared_with_themselves_and_the_median_is_told() -> None:
    ours = [sample(MIRROR.name, "crossfade", number, cpu) for number, cpu in enumerate((50, 60, 90))]
    theirs = [sample(MIRROR.name, "nginx", number, 100) for number in range(3)]
    ratio = Samples([*ours, *theirs]).to_peer(MIRROR, "crossfade", "nginx")
    assert ratio is not None
    assert (ratio.middle, ratio.low, ratio.high) == (0.6, 0.5, 0.9)
    assert str(ratio) == "0.60 (0.50 to 0.90)"


def test_recording_is_compared_with_the_mirror_of_those_that_cannot_record() -> None:
    samples = Samples([sample(PAIRS.name, "crossfade", 0, 90), sample(MIRROR.name, "nginx", 0, 100)])
    assert samples.to_peer(PAIRS, "crossfade", "nginx") == spread([0.9])


def test_latencies_are_compared_in_units_of_the_reference_too() -> None:
    slow = sample("slow-agent", "crossfade", 0, 60, noise=2, p50=5.5)
    samples = Samples([slow, sample(MIRROR.name, "crossfade", 0, 60, p50=5)])
    ratio = samples.ratio(Measure.P50, ("slow-agent", "crossfade"), (MIRROR.name, "crossfade"))
    assert ratio == spread([1.1])


def test_throughput_is_compared_in_units_of_the_reference_too() -> None:
    samples = Samples([sample("download-1m", "crossfade", 0, 800), sample("download-1m", "nginx", 0, 400, noise=1.7)])
    ratio = samples.ratio(Measure.THROUGHPUT, ("download-1m", "crossfade"), ("download-1m", "nginx"))
    assert ratio is not None
    assert ratio.middle == pytest.approx(0.5)


def test_figures_are_told_with_as_many_digits_as_wanted() -> None:
    assert Spread(12.34, 11.9, 13.0).said(digits=0) == "12 (12 to 13)"
    assert str(Spread(12.344, 12.341, 12.339)) == "12.34"


def test_there_is_no_ratio_where_a_run_is_missing() -> None:
    samples = Samples([sample(MIRROR.name, "crossfade", 0, 60), sample(MIRROR.name, "nginx", 1, 100)])
    assert samples.to_peer(MIRROR, "crossfade", "nginx") is None
    assert samples.to_peer(MIRROR, "crossfade", "envoy") is None
