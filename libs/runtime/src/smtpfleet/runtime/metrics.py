"""Metrics in Prometheus form, all under smtpfleet_: counts and distributions that cost next to nothing, written out by prometheus_client.

Made at import time as module constants by the code that counts; served by health.py. Label values are from small fixed sets: never an
address, a msgid or a relay. Counts are plain numbers that a collector of ours reads when somebody asks: the library's own lock and checks
took a tenth of smtp-in's time per message. So they are counted in the event loop's thread alone. Gauges are the library's.
"""

from bisect import bisect_left
from collections.abc import Iterator

from prometheus_client import (
    CollectorRegistry,
    Gauge,
    gc_collector,
    generate_latest,
    platform_collector,
    process_collector,
)
from prometheus_client.core import CounterMetricFamily, HistogramMetricFamily
from prometheus_client.registry import Collector

REGISTRY = CollectorRegistry()
process_collector.ProcessCollector(registry=REGISTRY)
platform_collector.PlatformCollector(registry=REGISTRY)
gc_collector.GCCollector(registry=REGISTRY)

LATENCY_BUCKETS_S = (0.001, 0.002, 0.005, 0.01, 0.02, 0.05, 0.1, 0.2, 0.5, 1.0, 2.0, 5.0, 10.0, 30.0)
"""Chosen around the 5 to 20 ms of a commit under load."""


class Count:
    """A number that only grows."""

    __slots__ = ("value",)

    def __init__(self) -> None:
        self.value = 0.0

    def inc(self, amount: float = 1) -> None:
        """So many more."""
        self.value += amount


class Counter(Count, Collector):
    """A count, or one per combination of label values."""

    __slots__ = ("_by_labels", "_labels", "_name", "_text")

    def __init__(self, name: str, text: str, labels: tuple[str, ...]) -> None:
        super().__init__()
        self._name = name
        self._text = text
        self._labels = labels
        self._by_labels: dict[tuple[str, ...], Count] = {}

    def labels(self, *values: str) -> Count:
        """The count of these label values."""
        count = self._by_labels.get(values)
        if count is None:
            assert len(values) == len(self._labels), f"{self._name} has the labels {self._labels}"
            count = self._by_labels[values] = Count()
        return count

    def collect(self) -> Iterator[CounterMetricFamily]:
        """As prometheus_client asks for it."""
        family = CounterMetricFamily(self._name, self._text, labels=self._labels)
        if not self._labels:
            family.add_metric((), self.value)
        for values, count in list(self._by_labels.items()):
            family.add_metric(values, count.value)
        yield family


class Distribution:
    """How often a value was at most each of the bounds."""

    __slots__ = ("_bounds", "counts", "sum")

    def __init__(self, bounds: tuple[float, ...]) -> None:
        self._bounds = bounds
        self.counts = [0] * (len(bounds) + 1)
        self.sum = 0.0

    def observe(self, value: float) -> None:
        """One more value."""
        self.counts[bisect_left(self._bounds, value)] += 1
        self.sum += value

    def buckets(self) -> list[tuple[str, float]]:
        """Cumulative counts by upper bound."""
        so_far = 0
        found = []
        for bound, count in zip((*map(str, self._bounds), "+Inf"), self.counts, strict=True):
            so_far += count
            found.append((bound, float(so_far)))
        return found


class Histogram(Distribution, Collector):
    """A distribution, or one per combination of label values."""

    __slots__ = ("_by_labels", "_labels", "_name", "_text")

    def __init__(self, name: str, text: str, labels: tuple[str, ...], bounds: tuple[float, ...]) -> None:
        super().__init__(bounds)
        self._name = name
        self._text = text
        self._labels = labels
        self._by_labels: dict[tuple[str, ...], Distribution] = {}

    def labels(self, *values: str) -> Distribution:
        """The distribution of these label values."""
        distribution = self._by_labels.get(values)
        if distribution is None:
            assert len(values) == len(self._labels), f"{self._name} has the labels {self._labels}"
            distribution = self._by_labels[values] = Distribution(self._bounds)
        return distribution

    def collect(self) -> Iterator[HistogramMetricFamily]:
        """As prometheus_client asks for it."""
        family = HistogramMetricFamily(self._name, self._text, labels=self._labels)
        if not self._labels:
            family.add_metric((), self.buckets(), self.sum)
        for values, distribution in list(self._by_labels.items()):
            family.add_metric(values, distribution.buckets(), distribution.sum)
        yield family


def counter(name: str, text: str, labels: tuple[str, ...] = ()) -> Counter:
    """A count that only grows: `smtpfleet_<name>_total`."""
    made = Counter(f"smtpfleet_{name}", text, labels)
    REGISTRY.register(made)
    return made


def gauge(name: str, text: str, labels: tuple[str, ...] = ()) -> Gauge:
    """A value that goes up and down: `smtpfleet_<name>`."""
    return Gauge(f"smtpfleet_{name}", text, labels, registry=REGISTRY)


def histogram(
    name: str, text: str, labels: tuple[str, ...] = (), buckets: tuple[float, ...] = LATENCY_BUCKETS_S
) -> Histogram:
    """A distribution, by default of seconds: `smtpfleet_<name>`."""
    made = Histogram(f"smtpfleet_{name}", text, labels, tuple(map(float, buckets)))
    REGISTRY.register(made)
    return made


def exposition() -> bytes:
    """All metrics of this process in Prometheus text form."""
    return generate_latest(REGISTRY)
