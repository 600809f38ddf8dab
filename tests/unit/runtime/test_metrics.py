"""Metrics of our own counting, as prometheus_client writes them and as its parser reads them."""

import itertools

import pytest
from prometheus_client.parser import text_string_to_metric_families

from smtpfleet.runtime import metrics

_numbers = itertools.count()


@pytest.fixture
def name() -> str:
    return f"test_{next(_numbers)}"


def samples() -> dict[str, float]:
    found = {}
    for family in text_string_to_metric_families(metrics.exposition().decode()):
        for sample in family.samples:
            labels = ",".join(f"{key}={value}" for key, value in sorted(sample.labels.items()))
            found[f"{sample.name}{{{labels}}}" if labels else sample.name] = sample.value
    return found


def test_a_counter_begins_at_nothing_and_grows(name: str) -> None:
    counter = metrics.counter(name, "A count")
    assert samples()[f"smtpfleet_{name}_total"] == 0
    counter.inc()
    counter.inc(2.5)
    assert samples()[f"smtpfleet_{name}_total"] == 3.5


def test_a_counter_by_labels(name: str) -> None:
    counter = metrics.counter(name, "A count", ("subject", "result"))
    assert not any(key.startswith(f"smtpfleet_{name}_total") for key in samples())
    counter.labels("a.b", "ok").inc()
    counter.labels("a.b", "ok").inc()
    counter.labels("a.b", 'not "ok"').inc()
    assert samples()[f"smtpfleet_{name}_total{{result=ok,subject=a.b}}"] == 2
    assert samples()[f'smtpfleet_{name}_total{{result=not "ok",subject=a.b}}'] == 1
    with pytest.raises(AssertionError, match="has the labels"):
        counter.labels("a.b")


def test_a_histogram(name: str) -> None:
    histogram = metrics.histogram(name, "A distribution", buckets=(1, 2, 4))
    for value in (0.5, 1, 1.5, 4, 100):
        histogram.observe(value)
    found = samples()
    cumulative = [found[f"smtpfleet_{name}_bucket{{le={bound}}}"] for bound in ("1.0", "2.0", "4.0", "+Inf")]
    assert cumulative == [2, 3, 4, 5]
    assert (found[f"smtpfleet_{name}_count"], found[f"smtpfleet_{name}_sum"]) == (5, 107)


def test_a_histogram_by_labels(name: str) -> None:
    histogram = metrics.histogram(name, "A distribution", ("script",))
    histogram.labels("claim").observe(0.003)
    found = samples()
    assert found[f"smtpfleet_{name}_bucket{{le=0.002,script=claim}}"] == 0
    assert found[f"smtpfleet_{name}_bucket{{le=0.005,script=claim}}"] == 1
    assert found[f"smtpfleet_{name}_count{{script=claim}}"] == 1
