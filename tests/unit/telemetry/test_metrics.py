"""The counts of all workers on one page: what goes in as ticks must come out as Prometheus families."""

from collections.abc import Iterator

import pytest
from prometheus_client import parser
from prometheus_client.core import Sample
from prometheus_client.openmetrics import parser as openmetrics

from proxy import __version__
from proxy.gateway import admission
from proxy.model.measures import (
    BOUNDS,
    CONNECTIONS_REFUSED,
    COUNTERS,
    FROM_ZERO,
    GAUGES,
    HISTOGRAMS,
    OVERRIDES,
    Family,
)
from proxy.model.tick import Counts, Tick
from proxy.model.words import Phase
from proxy.routing import override
from proxy.telemetry.metrics import MAX_SOURCES, Metrics

REFUND = ("refunds", "legacy", "legacy", "200")


def read(metrics: Metrics, accept: str = "") -> dict[tuple[str, tuple[str, ...]], float]:
    """Samples by name and label values in the order of the names."""
    return {(s.name, tuple(v for _, v in sorted(s.labels.items()))): s.value for s in samples(metrics, accept)}


def samples(metrics: Metrics, accept: str = "") -> Iterator[Sample]:
    body, _ = metrics.expose(accept)
    for family in parser.text_string_to_metric_families(body.decode()):
        yield from family.samples


def requests(metrics: Metrics) -> dict[tuple[str, ...], float]:
    return {
        (s.labels["route"], s.labels["arm"], s.labels["mode"], s.labels["code"]): s.value
        for s in samples(metrics)
        if s.name == "crossfade_requests_total"
    }


def rejected(metrics: Metrics) -> dict[tuple[str, str], float]:
    return {
        (s.labels["family"], s.labels["reason"]): s.value
        for s in samples(metrics)
        if s.name == "crossfade_metrics_rejected_total"
    }


def row(total: float, **counts: int) -> list[float]:
    """A histogram row with `counts` by bucket number, written `_3=2`."""
    cells = [0.0] * (len(BOUNDS) + 1)
    for place, count in counts.items():
        cells[int(place[1:])] = count
    return [total, *cells]


@pytest.fixture
def metrics() -> Metrics:
    return Metrics(process=False)


def test_every_name_of_the_design_is_there_with_its_labels(metrics: Metrics) -> None:
    metrics.absorb(
        Tick(
            "w1-a",
            1,
            0.0,
            counters={
                "requests_total": {REFUND: 1},
                "shadow_total": {("refunds", "mirrored"): 1},
                "fallbacks_total": {("refunds", "timeout"): 1},
            },
            histograms={
                "request_duration_seconds": {("refunds", "legacy", "legacy"): row(0.5, _6=1)},
                "upstream_duration_seconds": {("human",): row(0.5, _6=1)},
            },
            gauges={"inflight_requests": {(): 1}, "upstream_connections": {("human", "idle"): 2}},
        )
    )
    metrics.count_pairs("refunds", "matched")
    metrics.count_dropped("refunds", "spool_full")
    metrics.set_agreement("refunds", 0.9, 0.8)
    metrics.set_rollout("refunds", 5.0, Phase.PROGRESSING)
    metrics.count_rollback("refunds", "breaker")
    metrics.reload_result(True)
    metrics.store_up(True)
    metrics.set_spool(10, 1)

    shown = {(s.name, tuple(sorted(set(s.labels) - {"le"}))) for s in samples(metrics)}
    assert shown >= {
        ("crossfade_requests_total", ("arm", "code", "mode", "route")),
        ("crossfade_request_duration_seconds_bucket", ("arm", "mode", "route")),
        ("crossfade_upstream_duration_seconds_bucket", ("upstream",)),
        ("crossfade_shadow_total", ("fate", "route")),
        ("crossfade_fallbacks_total", ("reason", "route")),
        ("crossfade_pairs_total", ("route", "verdict")),
        ("crossfade_pairs_dropped_total", ("reason", "route")),
        ("crossfade_agreement_ratio", ("route",)),
        ("crossfade_agreement_lower_bound", ("route",)),
        ("crossfade_rollout_weight_percent", ("route",)),
        ("crossfade_rollout_phase", ("phase", "route")),
        ("crossfade_rollbacks_total", ("reason", "route")),
        ("crossfade_config_reloads_total", ("result",)),
        ("crossfade_config_last_reload_successful", ()),
        ("crossfade_store_up", ()),
        ("crossfade_inflight_requests", ()),
        ("crossfade_upstream_connections", ("state", "upstream")),
        ("crossfade_build_info", ("python", "version")),
    }
    assert rejected(metrics) == {}


def test_two_workers_counts_are_added_up(metrics: Metrics) -> None:
    metrics.absorb(Tick("w1-a", 1, 0.0, counters={"requests_total": {REFUND: 3}}))
    metrics.absorb(Tick("w2-b", 1, 0.0, counters={"requests_total": {REFUND: 4}}))
    metrics.absorb(Tick("w1-a", 2, 0.2, counters={"requests_total": {REFUND: 5}}))
    assert requests(metrics) == {REFUND: 12}


def test_a_tick_sent_again_counts_once(metrics: Metrics) -> None:
    tick = Tick("w1-a", 7, 0.0, counters={"requests_total": {REFUND: 3}})
    assert metrics.absorb(tick)
    metrics.forget("w1-a")  # the link broke, the worker comes back with what was not acknowledged
    assert not metrics.absorb(tick)
    assert requests(metrics) == {REFUND: 3}


def test_histograms_are_added_up_and_run(metrics: Metrics) -> None:
    key = ("human",)
    metrics.absorb(Tick("w1-a", 1, 0.0, histograms={"upstream_duration_seconds": {key: row(0.0008, _0=1)}}))
    metrics.absorb(Tick("w2-b", 1, 0.0, histograms={"upstream_duration_seconds": {key: row(130.002, _1=1, _17=1)}}))
    found = read(metrics)
    assert found["crossfade_upstream_duration_seconds_bucket", ("0.001", "human")] == 1
    assert found["crossfade_upstream_duration_seconds_bucket", ("0.0025", "human")] == 2
    assert found["crossfade_upstream_duration_seconds_bucket", ("120.0", "human")] == 2
    assert found["crossfade_upstream_duration_seconds_bucket", ("+Inf", "human")] == 3
    assert found["crossfade_upstream_duration_seconds_count", key] == 3
    assert found["crossfade_upstream_duration_seconds_sum", key] == pytest.approx(130.0028)


def test_a_histogram_with_other_buckets_is_turned_away(metrics: Metrics) -> None:
    metrics.absorb(Tick("w1-a", 1, 0.0, histograms={"upstream_duration_seconds": {("human",): [0.1, 1, 2]}}))
    assert rejected(metrics) == {("upstream_duration_seconds", "wrong_buckets"): 1}


def test_gauges_are_summed_over_workers_and_a_dead_one_is_forgotten(metrics: Metrics) -> None:
    metrics.absorb(Tick("w1-a", 1, 0.0, gauges={"inflight_requests": {(): 3}}))
    metrics.absorb(Tick("w2-b", 1, 0.0, gauges={"inflight_requests": {(): 4}}))
    assert read(metrics)["crossfade_inflight_requests", ()] == 7
    metrics.absorb(Tick("w1-a", 2, 0.2, gauges={"inflight_requests": {(): 1}}))
    assert read(metrics)["crossfade_inflight_requests", ()] == 5
    metrics.forget("w2-b")
    assert read(metrics)["crossfade_inflight_requests", ()] == 1


def test_an_upstream_is_healthy_where_every_worker_finds_it_so(metrics: Metrics) -> None:
    metrics.absorb(Tick("w1-a", 1, 0.0, gauges={"upstream_healthy": {("agent",): 1, ("human",): 1}}))
    metrics.absorb(Tick("w2-b", 1, 0.0, gauges={"upstream_healthy": {("agent",): 0, ("human",): 1}}))
    found = read(metrics)
    assert (found["crossfade_upstream_healthy", ("agent",)], found["crossfade_upstream_healthy", ("human",)]) == (0, 1)
    metrics.forget("w2-b")
    assert read(metrics)["crossfade_upstream_healthy", ("agent",)] == 1


def test_of_upstreams_that_are_not_checked_nothing_is_said(metrics: Metrics) -> None:
    assert not [s for s in samples(metrics) if s.name == "crossfade_upstream_healthy"]


def test_every_family_of_a_worker_is_shown(metrics: Metrics) -> None:
    def some(family: Family) -> tuple[str, ...]:
        return tuple("200" if label == "code" else "x" for label in family.labels)

    metrics.absorb(
        Tick(
            "w1-a",
            1,
            0.0,
            counters={family.name: {some(family): 1} for family in COUNTERS},
            histograms={family.name: {some(family): row(0.5, _6=1)} for family in HISTOGRAMS},
            gauges={family.name: {some(family): 1} for family in GAUGES},
        )
    )
    names = {sample.name for sample in samples(metrics)}
    assert {f"crossfade_{family.name}" for family in (*COUNTERS, *GAUGES)} <= names
    assert {f"crossfade_{family.name}_bucket" for family in HISTOGRAMS} <= names
    assert rejected(metrics) == {}


def test_what_should_never_happen_is_counted_from_zero(metrics: Metrics) -> None:
    found = read(metrics)
    for result in ("accepted", "expired", "invalid"):
        assert found["crossfade_overrides_total", (result,)] == 0
    for reason in ("limit", "address_limit", "proxy_header", "tls"):
        assert found["crossfade_connections_refused_total", (reason,)] == 0
    metrics.absorb(Tick("w1-a", 1, 0.0, counters={"overrides_total": {("invalid",): 2}}))
    assert read(metrics)["crossfade_overrides_total", ("invalid",)] == 2


def test_what_is_counted_from_zero_is_what_is_counted() -> None:
    assert set(FROM_ZERO[OVERRIDES.name]) == {override.ACCEPTED, override.EXPIRED, override.INVALID}
    refused = {admission.LIMIT, admission.ADDRESS_LIMIT, admission.PROXY_HEADER, admission.TLS}
    assert set(FROM_ZERO[CONNECTIONS_REFUSED.name]) == refused


def test_what_an_earlier_life_left_adds_its_counts_but_no_gauges(metrics: Metrics) -> None:
    left = Tick("w1-old", 9, 0.0, counters={"requests_total": {REFUND: 3}}, gauges={"inflight_requests": {(): 5}})
    metrics.absorb(left, live=False)
    assert requests(metrics) == {REFUND: 3}
    assert read(metrics)["crossfade_inflight_requests", ()] == 0


def test_a_gauge_that_a_worker_no_longer_reports_goes(metrics: Metrics) -> None:
    metrics.absorb(Tick("w1-a", 1, 0.0, gauges={"upstream_connections": {("old", "idle"): 3}}))
    metrics.absorb(Tick("w1-a", 2, 0.2, gauges={"upstream_connections": {("new", "idle"): 1}}))
    found = {labels: value for (name, labels), value in read(metrics).items() if name.endswith("upstream_connections")}
    assert found == {("idle", "new"): 1}


def test_unknown_families_and_wrong_labels_are_counted_not_shown(metrics: Metrics) -> None:
    metrics.absorb(
        Tick(
            "w1-a",
            1,
            0.0,
            counters={
                "made_up_total": {("x",): 1},
                "shadow_total": {("refunds",): 1},
                "requests_total": {("refunds", "legacy", "legacy", "007"): 1},
                "outcomes": {("refunds", "1", "shadow", "1", "legacy", "ok"): 1},
            },
            gauges={"made_up": {("x",): 1}},
        )
    )
    assert rejected(metrics) == {
        ("unknown", "unknown_family"): 2,
        ("shadow_total", "wrong_labels"): 1,
        ("requests_total", "wrong_labels"): 1,
    }
    assert not [s for s in samples(metrics) if "made_up" in s.name or "outcomes" in s.name]


def test_a_family_holds_no_more_series_than_its_limit() -> None:
    metrics = Metrics(process=False, max_series=2)
    for number in range(5):
        metrics.absorb(Tick("w1-a", number, 0.0, counters={"client_gone_total": {(f"r{number}",): 1}}))
    metrics.absorb(Tick("w1-a", 5, 0.0, counters={"client_gone_total": {("r1",): 10}}))
    shown = {s.labels["route"]: s.value for s in samples(metrics) if s.name == "crossfade_client_gone_total"}
    assert shown == {"r0": 1, "r1": 11}  # what is in goes on counting
    assert rejected(metrics) == {("client_gone_total", "series_limit"): 3}


def test_no_more_lives_of_workers_are_kept_than_the_limit(metrics: Metrics) -> None:
    for number in range(MAX_SOURCES + 5):
        metrics.absorb(Tick(f"w{number}", 1, 0.0, gauges={"inflight_requests": {(): 1}}))
    assert read(metrics)["crossfade_inflight_requests", ()] == MAX_SOURCES


def test_the_phase_that_holds_is_one_and_the_others_zero(metrics: Metrics) -> None:
    metrics.set_rollout("refunds", 5.0, Phase.PROGRESSING)
    metrics.set_rollout("refunds", 0.0, Phase.DEGRADED)
    phases = {s.labels["phase"]: s.value for s in samples(metrics) if s.name == "crossfade_rollout_phase"}
    assert phases == {"staging": 0, "progressing": 0, "paused": 0, "degraded": 1, "completed": 0}
    assert read(metrics)["crossfade_rollout_weight_percent", ("refunds",)] == 0


def test_rollbacks_are_counted_from_zero(metrics: Metrics) -> None:
    metrics.set_rollout("refunds", 5.0, Phase.PROGRESSING)
    metrics.count_rollback("refunds", "breaker")
    metrics.set_rollout("refunds", 0.0, Phase.DEGRADED)
    counts = {s.labels["reason"]: s.value for s in samples(metrics) if s.name == "crossfade_rollbacks_total"}
    assert counts == {"breaker": 1, "error_rate": 0, "latency": 0, "gates": 0, "operator": 0}


def test_agreement_without_evidence_is_not_shown(metrics: Metrics) -> None:
    metrics.set_agreement("refunds", 0.9, 0.8)
    metrics.set_agreement("refunds", None, None)
    assert not [s for s in samples(metrics) if "agreement" in s.name]


def test_the_split_is_shown_while_there_is_something_to_judge_it_by(metrics: Metrics) -> None:
    metrics.set_split("refunds", 0.75, -2.5)
    found = read(metrics)
    assert found["crossfade_key_coverage_ratio", ("refunds",)] == 0.75
    assert found["crossfade_sample_ratio_evidence", ("refunds",)] == -2.5
    metrics.set_split("refunds", 0.75, None)
    names = {s.name for s in samples(metrics)}
    assert ("crossfade_key_coverage_ratio" in names, "crossfade_sample_ratio_evidence" in names) == (True, False)
    metrics.remove_rollout("refunds")
    assert "crossfade_key_coverage_ratio" not in {s.name for s in samples(metrics)}


def test_replicas_and_who_of_them_decides(metrics: Metrics) -> None:
    metrics.set_replicas(3, True)
    found = read(metrics)
    assert (found["crossfade_replicas", ()], found["crossfade_leader", ()]) == (3, 1)
    metrics.set_replicas(2, False)
    found = read(metrics)
    assert (found["crossfade_replicas", ()], found["crossfade_leader", ()]) == (2, 0)


def test_a_removed_route_takes_its_series_along_and_leaves_the_others(metrics: Metrics) -> None:
    gone, stays = ("gone", "legacy", "legacy", "200"), REFUND
    metrics.absorb(Tick("w1-a", 1, 0.0, counters={"requests_total": {gone: 1, stays: 1}}))
    for route in ("gone", "refunds"):
        metrics.set_rollout(route, 5.0, Phase.PROGRESSING)
        metrics.count_pairs(route, "matched")
    metrics.remove_route("gone")
    assert {s.labels["route"] for s in samples(metrics) if "route" in s.labels} == {"refunds"}


def test_a_removed_upstream_takes_its_series_along_and_leaves_the_others(metrics: Metrics) -> None:
    counters: Counts = {
        "retries_total": {("gone", "503"): 1, ("human", "503"): 1},
        "health_checks_total": {("gone", "failed"): 1},
    }
    metrics.absorb(Tick("w1-a", 1, 0.0, counters, {"upstream_duration_seconds": {("gone",): row(0.5, _6=1)}}))
    metrics.remove_upstream("gone")
    assert {s.labels["upstream"] for s in samples(metrics) if "upstream" in s.labels} == {"human"}


def test_a_route_without_its_rollout_goes_on_being_counted(metrics: Metrics) -> None:
    metrics.absorb(Tick("w1-a", 1, 0.0, counters={"requests_total": {REFUND: 1}}))
    metrics.set_rollout("refunds", 5.0, Phase.PROGRESSING)
    metrics.set_agreement("refunds", 0.9, 0.8)
    metrics.remove_rollout("refunds")
    assert requests(metrics) == {REFUND: 1}
    assert not [s for s in samples(metrics) if "rollout_" in s.name or "agreement" in s.name]


def test_reloads_are_counted_from_zero_and_the_last_one_shows(metrics: Metrics) -> None:
    assert read(metrics)["crossfade_config_reloads_total", ("failure",)] == 0
    metrics.reload_result(True)
    metrics.reload_result(False)
    found = read(metrics)
    assert found["crossfade_config_reloads_total", ("success",)] == 1
    assert found["crossfade_config_reloads_total", ("failure",)] == 1
    assert found["crossfade_config_last_reload_successful", ()] == 0


def test_worker_and_control_drops_share_one_family(metrics: Metrics) -> None:
    metrics.absorb(Tick("w1-a", 1, 0.0, counters={"pairs_dropped_total": {("refunds", "spool_full"): 2}}))
    metrics.count_dropped("refunds", "spool_full", 3)
    assert read(metrics)["crossfade_pairs_dropped_total", ("spool_full", "refunds")] == 5


def test_the_build_names_the_version(metrics: Metrics) -> None:
    build = [s for s in samples(metrics) if s.name == "crossfade_build_info"]
    assert [(s.labels["version"], s.value) for s in build] == [(__version__, 1)]


def test_open_metrics_on_request(metrics: Metrics) -> None:
    metrics.absorb(Tick("w1-a", 1, 0.0, counters={"requests_total": {REFUND: 3}}))
    body, content_type = metrics.expose("application/openmetrics-text;version=1.0.0;q=0.5,text/plain;q=0.1")
    assert content_type.startswith("application/openmetrics-text; version=1.0.0")
    read_back = openmetrics.text_string_to_metric_families(body.decode())  # type: ignore[no-untyped-call]  # theirs
    assert "crossfade_requests" in {family.name for family in read_back}


@pytest.mark.parametrize("accept", ["", "*/*", "application/openmetrics-text;version=nonsense", "text/plain;version=x"])
def test_plain_text_for_everyone_else(metrics: Metrics, accept: str) -> None:
    body, content_type = metrics.expose(accept)
    assert content_type.startswith("text/plain; version=0.0.4")
    assert b"# TYPE crossfade_requests_total counter" in body


def test_the_control_process_shows_its_own_use() -> None:
    assert any(s.name == "process_resident_memory_bytes" for s in samples(Metrics()))
