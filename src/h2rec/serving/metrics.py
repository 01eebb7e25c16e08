"""Counters of the server, in Prometheus' format."""

import os
from collections.abc import Sequence

from prometheus_client import CollectorRegistry, Counter, Gauge, Histogram, generate_latest
from prometheus_client.multiprocess import MultiProcessCollector

from h2rec.retrieval.answers import Recommendation

SHARED = "PROMETHEUS_MULTIPROC_DIR"
"""Environment variable with the folder where several processes keep their figures, as prometheus_client has it."""

_SECONDS = (0.002, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5)
_SIZES = (1, 2, 4, 8, 16, 32, 64, 128, 256)


class Metrics:
    """All metrics of one server, in a registry of its own."""

    def __init__(self) -> None:
        self.registry = CollectorRegistry()
        own = self.registry
        self.requests = Counter("h2rec_requests", "Requests answered.", ("route", "status"), registry=own)
        self.seconds = Histogram(
            "h2rec_request_seconds", "Time to answer a request.", ("route",), buckets=_SECONDS, registry=own
        )
        self.batch_size = Histogram(
            "h2rec_batch_size", "Questions answered at once.", buckets=_SIZES, registry=own
        )
        self.waiting = Gauge(
            "h2rec_waiting", "Questions waiting or being answered.", registry=own, multiprocess_mode="livesum"
        )
        self.overloaded = Counter("h2rec_overloaded", "Requests refused for overload.", registry=own)
        self.unknown = Counter("h2rec_unknown_items", "History entries not in the catalogue.", registry=own)
        self.popular = Counter("h2rec_popular_answers", "Answers from popularity alone.", registry=own)
        self.tail_items = Counter("h2rec_recommended_tail_items", "Tail items recommended.", registry=own)
        self.all_items = Counter("h2rec_recommended_items", "Items recommended.", registry=own)
        self.reloads = Counter("h2rec_reloads", "Reloads of the bundle.", ("result",), registry=own)
        self.experiment_on = Gauge(
            "h2rec_experiment_on",
            "Processes whose experiment is switched on.",
            registry=own,
            multiprocess_mode="livesum",
        )
        self.impressions = Counter(
            "h2rec_experiment_impressions", "Answers written to the log.", ("arm",), registry=own
        )
        self.events = Counter(
            "h2rec_experiment_events", "Events of users written to the log.", ("event",), registry=own
        )
        self.log_failures = Counter(
            "h2rec_experiment_log_failures", "Times that the log could not be written.", registry=own
        )
        self.unlogged = Counter(
            "h2rec_experiment_unlogged", "Answers given though they could not be logged.", registry=own
        )
        self.refused_changes = Counter(
            "h2rec_experiment_refused_changes", "Changes of the file that do not hold.", registry=own
        )
        self.items = Gauge(
            "h2rec_items", "Items in the catalogue.", registry=own, multiprocess_mode="livemostrecent"
        )

    def count_answers(self, answers: Sequence[Recommendation]) -> None:
        """Count what was recommended."""
        self.unknown.inc(sum(len(answer.unknown) for answer in answers))
        self.popular.inc(sum(answer.from_popularity for answer in answers))
        self.all_items.inc(sum(len(answer.items) for answer in answers))
        self.tail_items.inc(sum(not item.head for answer in answers for item in answer.items))

    def text(self) -> bytes:
        """Everything, as a scrape reads it; of all processes that serve together."""
        if SHARED not in os.environ:
            return generate_latest(self.registry)
        together = CollectorRegistry()
        MultiProcessCollector(together)  # type: ignore[no-untyped-call]
        return generate_latest(together)
