from benchmarks.load.cases import CASES
from benchmarks.load.measure import Run
from benchmarks.load.ratios import Reference, Sample, Samples
from benchmarks.load.tables import TABLES, Row
from benchmarks.load.wrk import Load

CASE = {case.name: case for case in CASES}
QUIET = (Reference(10, 1, 100_000),) * 2


def sample(
    case: str, peer: str, cpu: float, per_second: float = 1000, references: tuple[Reference, ...] = QUIET
) -> Sample:
    load = Load(requests=1000, per_second=per_second, p50=5, p99=9, errors=0)
    return Sample(case, peer, 0, Run(memory={"worker": 50 << 20}, cpu={"worker": cpu}, load=load), references)


def test_a_crowd_is_compared_with_the_same_proxy_and_few_connections() -> None:
    samples = Samples([sample("split-post", "nginx", 10), sample("split-10000", "nginx", 25)])
    assert Row(CASE["split-10000"], "nginx", samples).cpu_to_base() == "2.50"


def test_bodies_are_told_in_mib_and_with_how_busy_the_proxy_was() -> None:
    download = [sample("download-64k", "nginx", 20, 40_000), sample("download-64k", "crossfade", 50, 16_000)]
    upload = sample("upload-1m", "crossfade", 800, 1250)
    samples = Samples([*download, upload])

    row = Row(CASE["download-64k"], "crossfade", samples)
    assert (row.mib_per_second(), row.throughput_to("nginx"), row.busy()) == ("1,000", "0.40", "80%")
    assert Row(CASE["upload-1m"], "crossfade", samples).mib_per_second() == "1,250"


def test_what_a_proxy_adds_is_over_the_same_client_without_it() -> None:
    load, direct = Load(4800, 2000, 0.25, 0.9, 0), Load(4800, 2000, 0.08, 0.3, 0)
    run = Run(memory={"worker": 1 << 20}, cpu={"worker": 60}, load=load, direct=direct)
    row = Row(CASE["rate-2000"], "crossfade", Samples([Sample("rate-2000", "crossfade", 0, run)]))
    assert (row.micros("p50"), row.direct("p50"), row.added("p50"), row.added("p99")) == ("250", "80", "170", "600")


def test_a_table_tells_only_what_was_measured() -> None:
    samples = Samples([sample("tls-post", "nginx", 15)])
    told = [text for table in TABLES if (text := table.markdown(samples))]
    assert len(told) == 1
    assert told[0].startswith("**TLS, two workers**")
    assert told[0].count("\n| tls-post") == 1


def test_every_kind_of_case_has_one_table() -> None:
    kinds = [kind for table in TABLES for kind in table.kinds]
    assert sorted(kinds) == sorted({case.kind for case in CASES})
