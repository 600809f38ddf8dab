"""Metrics in Prometheus form: thin names over prometheus_client, all under smtpfleet_.

Made at import time as module constants by the code that counts; served by health.py. Label values are from small fixed sets: never an
address, a msgid or a relay.
"""

from prometheus_client import (
    CollectorRegistry,
    Counter,
    Gauge,
    Histogram,
    gc_collector,
    generate_latest,
    platform_collector,
    process_collector,
)

REGISTRY = CollectorRegistry()
process_collector.ProcessCollector(registry=REGISTRY)
platform_collector.PlatformCollector(registry=REGISTRY)
gc_collector.GCCollector(registry=REGISTRY)

LATENCY_BUCKETS_S = (0.001, 0.002, 0.005, 0.01, 0.02, 0.05, 0.1, 0.2, 0.5, 1.0, 2.0, 5.0, 10.0, 30.0)
"""Chosen around the 5 to 20 ms of a commit under load."""


def counter(name: str, text: str, labels: tuple[str, ...] = ()) -> Counter:
    """A count that only grows: `smtpfleet_<name>_total`."""
    return Counter(f"smtpfleet_{name}", text, labels, registry=REGISTRY)


def gauge(name: str, text: str, labels: tuple[str, ...] = ()) -> Gauge:
    """A value that goes up and down: `smtpfleet_<name>`."""
    return Gauge(f"smtpfleet_{name}", text, labels, registry=REGISTRY)


def histogram(
    name: str, text: str, labels: tuple[str, ...] = (), buckets: tuple[float, ...] = LATENCY_BUCKETS_S
) -> Histogram:
    """A distribution, by default of seconds: `smtpfleet_<name>`."""
    return Histogram(f"smtpfleet_{name}", text, labels, registry=REGISTRY, buckets=buckets)


def exposition() -> bytes:
    """All metrics of this process in Prometheus text form."""
    return generate_latest(REGISTRY)
