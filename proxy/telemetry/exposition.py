"""From tables of label sets to Prometheus metric families."""

from collections.abc import Mapping
from typing import Final

from prometheus_client.core import CounterMetricFamily, GaugeMetricFamily, HistogramMetricFamily, InfoMetricFamily

from proxy.model.measures import BOUNDS, Family
from proxy.model.tick import Labels

PREFIX: Final = "crossfade_"
_EDGES: Final = (*(repr(bound) for bound in BOUNDS), "+Inf")


def counter(family: Family, rows: Mapping[Labels, float]) -> CounterMetricFamily:
    metric = CounterMetricFamily(PREFIX + family.name, family.help, labels=family.labels)
    for labels, value in rows.items():
        metric.add_metric(labels, value)
    return metric


def gauge(family: Family, rows: Mapping[Labels, float]) -> GaugeMetricFamily:
    metric = GaugeMetricFamily(PREFIX + family.name, family.help, labels=family.labels)
    for labels, value in rows.items():
        metric.add_metric(labels, value)
    return metric


def histogram(family: Family, rows: Mapping[Labels, list[float]]) -> HistogramMetricFamily:
    """A row is the sum of seconds, then the count of each bucket by itself; Prometheus wants them running."""
    metric = HistogramMetricFamily(PREFIX + family.name, family.help, labels=family.labels)
    for labels, (total, *cells) in rows.items():
        running, buckets = 0.0, []
        for edge, count in zip(_EDGES, cells, strict=True):
            running += count
            buckets.append((edge, running))
        metric.add_metric(labels, buckets, total)
    return metric


def info(family: Family, labels: Labels) -> InfoMetricFamily:
    """`labels` are the values of the one row that a family `…_info` has."""
    metric = InfoMetricFamily(PREFIX + family.name.removesuffix("_info"), family.help)
    metric.add_metric([], dict(zip(family.labels, labels, strict=True)))
    return metric
