"""The counts of all workers, added up, and the control process's own: what `/metrics` shows.

Worker families come from `proxy.model.measures`, the control plane's from `families`; Prometheus names are
`crossfade_` + family. Two rules keep this bounded and honest: a family never holds more than `max_series` label sets,
and whatever is turned away is counted in `crossfade_metrics_rejected_total{family,reason}`.
"""

import platform
import re
from collections.abc import Iterable, Iterator, Mapping
from typing import Any, Final

from prometheus_client import CollectorRegistry, ProcessCollector
from prometheus_client.core import Metric
from prometheus_client.exposition import choose_encoder

from proxy import __version__
from proxy.model.measures import (
    BOUNDS,
    COUNTERS,
    FROM_ZERO,
    GAUGES,
    HISTOGRAMS,
    OUTCOMES,
    OWED,
    PAIRS_DROPPED,
    REQUESTS,
    Family,
)
from proxy.model.tick import Labels, Tick
from proxy.model.words import Phase
from proxy.telemetry import exposition
from proxy.telemetry.families import (
    AGREEMENT,
    AGREEMENT_BOUND,
    BUILD,
    CONTROL_COUNTERS,
    CONTROL_GAUGES,
    KEY_COVERAGE,
    LEADER,
    PAIRS,
    PHASE,
    REJECTED,
    RELOAD_OK,
    RELOADS,
    REPLICAS,
    ROLLBACK_REASONS,
    ROLLBACKS,
    SAMPLE_RATIO,
    SPOOL_BYTES,
    SPOOL_FRAMES,
    STORE_UP,
    WEIGHT,
)
from proxy.telemetry.families import (
    FROM_ZERO as CONTROL_FROM_ZERO,
)

_COUNTERS: Final = {family.name: family for family in (*COUNTERS, *CONTROL_COUNTERS)}
_HISTOGRAMS: Final = {family.name: family for family in HISTOGRAMS}
_FAMILIES: Final = {**_COUNTERS, **_HISTOGRAMS, **{family.name: family for family in CONTROL_GAUGES}}
_WORKER_COUNTERS: Final = frozenset(family.name for family in COUNTERS)
_WORKER_GAUGES: Final = {family.name: family for family in GAUGES}
_FROM_ZERO: Final = {**FROM_ZERO, **CONTROL_FROM_ZERO}
_INTERNAL: Final = frozenset({OUTCOMES.name, OWED.name})
"""Told by workers too, for others than us."""
_CELLS: Final = len(BOUNDS) + 2
_CODE: Final = re.compile(r"[1-5]\d\d")
MAX_SOURCES: Final = 1024
"""Workers' lives that are remembered; 256 workers is the most that a configuration may ask for."""


class Metrics:
    """Adds up ticks and takes note of what the control plane does. Not thread-safe: it belongs to the event loop."""

    def __init__(self, *, max_series: int = 10_000, process: bool = True) -> None:
        """`process` adds the control process's own CPU, memory and descriptors (`process_…`)."""
        self._max_series = max_series
        self._counters: dict[str, dict[Labels, float]] = {name: {} for name in _COUNTERS}
        self._histograms: dict[str, dict[Labels, list[float]]] = {name: {} for name in _HISTOGRAMS}
        self._gauges: dict[str, dict[Labels, float]] = {family.name: {} for family in CONTROL_GAUGES}
        self._reported: dict[str, dict[str, dict[Labels, float]]] = {}  # by source, by family
        self._last_seq: dict[str, int] = {}
        for name, values in _FROM_ZERO.items():
            self._counters[name] = {(value,): 0 for value in values}
        self.set_spool(0, 0)
        self._registry = CollectorRegistry(auto_describe=False)
        self._registry.register(_Collector(self))
        if process:
            ProcessCollector(registry=self._registry)

    # What workers report

    def absorb(self, tick: Tick, *, live: bool = True) -> bool:
        """Add a worker's tick. One that was absorbed before (sent again after a reconnect) changes nothing, and is
        answered with False.

        Not `live` is what an earlier life of the worker left behind: its counts are added, its gauges are past.
        """
        if tick.seq <= self._last_seq.get(tick.source, -1):
            return False
        self._remember(tick)
        for name, counts in tick.counters.items():
            if name in _WORKER_COUNTERS:
                self._add_counts(_COUNTERS[name], counts)
            elif name not in _INTERNAL:
                self._reject("unknown", "unknown_family", len(counts))
        for name, rows in tick.histograms.items():
            if name in _HISTOGRAMS:
                self._add_histogram(_HISTOGRAMS[name], rows)
            else:
                self._reject("unknown", "unknown_family", len(rows))
        if live:
            self._keep_gauges(tick)
        return True

    def forget(self, source: str) -> None:
        """A worker is gone: its gauges go too, its counts stay."""
        self._reported.pop(source, None)

    # What the control plane does

    def count(self, family: Family, *labels: str, n: int = 1) -> None:
        """Add to a counter of `families`."""
        self._count(family, labels, n)

    def set(self, family: Family, *labels: str, value: float | None) -> None:
        """Put a gauge of `families`; None takes it away."""
        self._set(family, labels, value)

    def count_pairs(self, route: str, verdict: str, n: int = 1) -> None:
        self._count(PAIRS, (route, verdict), n)

    def count_dropped(self, route: str, reason: str, n: int = 1) -> None:
        self._count(PAIRS_DROPPED, (route, reason), n)

    def count_rollback(self, route: str, reason: str) -> None:
        """`reason` is a label value, one of ROLLBACK_REASONS, not a sentence."""
        self._count(ROLLBACKS, (route, reason), 1)

    def set_agreement(self, route: str, ratio: float | None, lower_bound: float | None) -> None:
        """Shares from 0 to 1; None while there is nothing to compute them from."""
        self._set(AGREEMENT, (route,), ratio)
        self._set(AGREEMENT_BOUND, (route,), lower_bound)

    def set_split(self, route: str, key_coverage: float | None, sample_ratio: float | None) -> None:
        """The share of requests with a key (0 to 1), and the evidence against the split as a natural logarithm; None
        while there is nothing to compute them from."""
        self._set(KEY_COVERAGE, (route,), key_coverage)
        self._set(SAMPLE_RATIO, (route,), sample_ratio)

    def set_rollout(self, route: str, weight_percent: float, phase: Phase) -> None:
        self._set(WEIGHT, (route,), weight_percent)
        for each in Phase:
            self._set(PHASE, (route, each.value), float(each is phase))
        for reason in ROLLBACK_REASONS:
            self._count(ROLLBACKS, (route, reason), 0)  # so that the first rollback shows as an increase

    def remove_rollout(self, route: str) -> None:
        """The route has no rollout any more; its requests go on being counted."""
        self._drop("route", route, self._gauges)

    def remove_route(self, route: str) -> None:
        """The configuration no longer has this route, so none of its series is shown any more."""
        self._drop("route", route, self._counters, self._histograms, self._gauges)

    def remove_upstream(self, upstream: str) -> None:
        """Nor this upstream."""
        self._drop("upstream", upstream, self._counters, self._histograms)

    def reload_result(self, ok: bool) -> None:
        self._count(RELOADS, ("success" if ok else "failure",), 1)
        self._set(RELOAD_OK, (), float(ok))

    def store_up(self, up: bool) -> None:
        self._set(STORE_UP, (), float(up))

    def set_replicas(self, alive: int, leads: bool) -> None:
        self._set(REPLICAS, (), alive)
        self._set(LEADER, (), float(leads))

    def set_spool(self, size: int, frames: int) -> None:
        """`size` in bytes."""
        self._set(SPOOL_BYTES, (), size)
        self._set(SPOOL_FRAMES, (), frames)

    # What Prometheus reads

    def expose(self, accept: str = "") -> tuple[bytes, str]:
        """Body and content type: Prometheus text, or OpenMetrics if the Accept header asks for it."""
        try:
            encode, content_type = choose_encoder(accept)
        except (ValueError, TypeError):  # it compares a version that is no version
            encode, content_type = choose_encoder("")
        return encode(self._registry), content_type

    def collect(self) -> Iterator[Metric]:
        for name, family in _COUNTERS.items():
            yield exposition.counter(family, self._counters[name])
        for name, family in _HISTOGRAMS.items():
            yield exposition.histogram(family, self._histograms[name])
        for family in _WORKER_GAUGES.values():
            yield exposition.gauge(family, self._of_all_workers(family))
        for family in CONTROL_GAUGES:
            yield exposition.gauge(family, self._gauges[family.name])
        yield exposition.info(BUILD, (__version__, platform.python_version()))

    # Inside

    def _remember(self, tick: Tick) -> None:
        self._last_seq.pop(tick.source, None)
        self._last_seq[tick.source] = tick.seq  # the last place is the most recent one
        if len(self._last_seq) > MAX_SOURCES:
            oldest = next(iter(self._last_seq))
            del self._last_seq[oldest]
            self._reported.pop(oldest, None)

    def _add_counts(self, family: Family, counts: dict[Labels, int]) -> None:
        table = self._counters[family.name]
        for labels, count in counts.items():
            if labels in table:
                table[labels] += count
            elif self._admits(family, table, labels):
                table[labels] = count

    def _add_histogram(self, family: Family, rows: dict[Labels, list[float]]) -> None:
        table = self._histograms[family.name]
        for labels, cells in rows.items():
            if len(cells) != _CELLS:
                self._reject(family.name, "wrong_buckets")
            elif labels in table:
                table[labels] = [old + new for old, new in zip(table[labels], cells, strict=True)]
            elif self._admits(family, table, labels):
                table[labels] = list(cells)

    def _keep_gauges(self, tick: Tick) -> None:
        """A tick's gauges take the place of what this worker said of the same families before."""
        for name, rows in tick.gauges.items():
            family = _WORKER_GAUGES.get(name)
            if family is None:
                self._reject("unknown", "unknown_family", len(rows))
                continue
            kept: dict[Labels, float] = {}
            for labels, value in rows.items():
                if self._admits(family, kept, labels):
                    kept[labels] = value
            self._reported.setdefault(tick.source, {})[name] = kept

    def _of_all_workers(self, family: Family) -> dict[Labels, float]:
        reported: dict[Labels, list[float]] = {}
        if not family.labels:
            reported[()] = [0.0]  # shown also before the first worker reports
        for families in self._reported.values():
            for labels, value in families.get(family.name, {}).items():
                reported.setdefault(labels, []).append(value)
        fold = min if family.least else sum
        return {labels: float(fold(values)) for labels, values in reported.items()}

    def _count(self, family: Family, labels: Labels, n: int) -> None:
        self._add_counts(family, {labels: n})

    def _set(self, family: Family, labels: Labels, value: float | None) -> None:
        table = self._gauges[family.name]
        if value is None:
            table.pop(labels, None)
        elif labels in table or self._admits(family, table, labels):
            table[labels] = value

    def _admits(self, family: Family, table: Mapping[Labels, object], labels: Labels) -> bool:
        """Whether a new label set may join the table; counts it where not."""
        if len(labels) != len(family.labels) or not all(isinstance(value, str) for value in labels):
            self._reject(family.name, "wrong_labels")
            return False
        if family is REQUESTS and not _CODE.fullmatch(labels[-1]):
            self._reject(family.name, "wrong_labels")
            return False
        if len(table) >= self._max_series:
            self._reject(family.name, "series_limit")
            return False
        return True

    @staticmethod
    def _drop(label: str, value: str, *groups: Mapping[str, dict[Labels, Any]]) -> None:
        for name, table in ((name, table) for tables in groups for name, table in tables.items()):
            family = _FAMILIES[name]
            if label in family.labels:
                place = family.labels.index(label)
                for labels in [labels for labels in table if labels[place] == value]:
                    del table[labels]

    def _reject(self, family: str, reason: str, n: int = 1) -> None:
        table = self._counters[REJECTED.name]
        table[(family, reason)] = table.get((family, reason), 0) + n


class _Collector:
    """What the registry asks at each scrape."""

    def __init__(self, metrics: Metrics) -> None:
        self._metrics = metrics

    def collect(self) -> Iterable[Metric]:
        return self._metrics.collect()
