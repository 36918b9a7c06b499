"""Counts requests and runs, and exposes the metrics of one process or of several to Prometheus.

`prometheus_client` provides the text formats and the collectors for the process and the Python runtime. The counters are the
server's own: they cost a request only a fraction of a microsecond.
"""

import resource
import sys
from bisect import bisect_left
from collections.abc import Callable, Iterable, Iterator, Mapping
from typing import Any

import msgspec
from prometheus_client import GC_COLLECTOR, PLATFORM_COLLECTOR, PROCESS_COLLECTOR
from prometheus_client.core import Metric
from prometheus_client.exposition import CONTENT_TYPE_PLAIN_1_0_0, generate_latest
from prometheus_client.openmetrics import exposition as openmetrics
from prometheus_client.registry import Collector

from threadloom.engine.observe import NotifyEnd, RunEnd
from threadloom.types import Run

REQUEST_SECONDS = (0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0, 30.0, 60.0)
"""Upper bounds of the request histogram's buckets, in seconds."""

RUN_SECONDS = (0.01, 0.05, 0.1, 0.5, 1.0, 5.0, 10.0, 30.0, 60.0, 300.0, 1800.0, 7200.0)
"""Upper bounds of the run histogram's buckets, in seconds."""

COUNTED = {"count", "seconds"}
"""Keys of a JSON entry whose numbers are added up; the other keys are labels."""

Labels = tuple[tuple[str, str | int], ...]


class Sample(msgspec.Struct, frozen=True, array_like=True):
    """One value of a metric. `name` is the metric's name and the suffix of the sample (`_total`, `_bucket`, `_sum` …)."""

    name: str
    value: float
    labels: Mapping[str, str] = {}


class Figure(msgspec.Struct, frozen=True, array_like=True):
    """A Prometheus metric family, in the form that processes send to each other. The name of a counter is without `_total`."""

    name: str
    text: str
    kind: str
    samples: list[Sample]


class Report(msgspec.Struct, frozen=True):
    """What one process exposes: its metrics, the same counts as JSON, and its run slots (total, in use)."""

    figures: list[Figure]
    counts: dict[str, list[dict[str, Any]]]
    workers: tuple[int, int]


class AllProcesses(Collector):
    """The metrics of several processes, and those of their shared queue, as a collector for `prometheus_client`.

    Each value has the label `process` with the name of its process. A single process has the name "", and its values have no such
    label.
    """

    def __init__(self, reports: Mapping[str, Report], queue: Iterable[Figure]) -> None:
        self._reports = reports
        self._queue = queue

    def collect(self) -> Iterable[Metric]:
        """Returns one metric family for each name."""
        found: dict[str, Metric] = {}
        for process, figures in [
            *((name, report.figures) for name, report in self._reports.items()),
            ("", self._queue),
        ]:
            named = {"process": process} if process else {}
            for figure in figures:
                whole = found.setdefault(figure.name, Metric(figure.name, figure.text, figure.kind))
                for sample in figure.samples:
                    whole.add_sample(sample.name, {**named, **sample.labels}, sample.value)
        return found.values()


def exposition(accept: str) -> tuple[Callable[[Collector], bytes], str]:
    """Returns the encoder and its content type for an `Accept` header: OpenMetrics 1.0 if the header names it, else Prometheus
    text.

    The library's own function parses version numbers in the header and raises on unusual ones.
    """
    accepted = {part.partition(";")[0].strip().lower() for part in accept.split(",")}
    if "application/openmetrics-text" in accepted:
        return openmetrics.generate_latest, openmetrics.CONTENT_TYPE_LATEST
    return generate_latest, CONTENT_TYPE_PLAIN_1_0_0


def added_up(reports: Iterable[Report]) -> Report:
    """Adds up the counts and slots of several processes. The result has no metrics."""
    counts: dict[str, dict[tuple[Any, ...], dict[str, Any]]] = {}
    most = active = 0
    for report in reports:
        most, active = most + report.workers[0], active + report.workers[1]
        for kind, entries in report.counts.items():
            whole = counts.setdefault(kind, {})
            for entry in entries:
                labels = tuple(pair for pair in entry.items() if pair[0] not in COUNTED)
                same = whole.setdefault(labels, dict(labels))
                for name in COUNTED & entry.keys():
                    same[name] = round(same.get(name, 0) + entry[name], 6)
    return Report([], {kind: list(whole.values()) for kind, whole in counts.items()}, (most, active))


class Histogram:
    """Counts durations by labels.

    Args:
        name: the name without the prefix.
        text: the help text.
        bounds: upper bounds of the buckets, in seconds.
    """

    def __init__(self, name: str, text: str, bounds: tuple[float, ...]) -> None:
        self.name = name
        self._text = text
        self._bounds = bounds
        self.counts: dict[Labels, int] = {}
        self.seconds: dict[Labels, float] = {}
        self._buckets: dict[Labels, list[int]] = {}

    def note(self, labels: Labels, seconds: float) -> None:
        """Counts one duration."""
        buckets = self._buckets.get(labels)
        if buckets is None:
            buckets = self._buckets[labels] = [0] * (len(self._bounds) + 1)
            self.counts[labels] = 0
            self.seconds[labels] = 0.0
        self.counts[labels] += 1
        self.seconds[labels] += seconds
        buckets[bisect_left(self._bounds, seconds)] += 1

    def figure(self, prefix: str) -> Figure:
        """Returns the histogram as a metric family."""
        name = prefix + self.name
        samples = []
        for labels, buckets in self._buckets.items():
            named = _texts(labels)
            below = 0
            for bound, count in zip((*map(str, self._bounds), "+Inf"), buckets, strict=True):
                below += count
                samples.append(Sample(f"{name}_bucket", below, {**named, "le": bound}))
            samples.append(Sample(f"{name}_sum", round(self.seconds[labels], 6), named))
            samples.append(Sample(f"{name}_count", self.counts[labels], named))
        return Figure(name, self._text, "histogram", samples)

    def total(self, name: str, text: str) -> Figure:
        """Returns the number of durations as a counter, whose samples are called `name` and `_total`."""
        samples = [Sample(f"{name}_total", count, _texts(labels)) for labels, count in self.counts.items()]
        return Figure(name, text, "counter", samples)


class Metrics:
    """Counts finished requests by method, path of the route (templates, not ids) and status, and ended runs by graph and
    status."""

    def __init__(self) -> None:
        self._requests = Histogram(
            "http_requests_latency", "Seconds from request to the end of its answer.", REQUEST_SECONDS
        )
        self._runs = Histogram("runs_duration_seconds", "Seconds that runs were executed.", RUN_SECONDS)

    def note(self, method: str, template: str, status: int, seconds: float) -> None:
        """Counts one request and its duration."""
        self._requests.note((("method", method), ("path", template), ("status", status)), seconds)

    def observe(self, run: Run) -> NotifyEnd:
        """Counts a run's attempt when it has ended; see `engine.observe.Observer`."""

        def end(ending: RunEnd) -> None:
            self._runs.note((("graph", run.graph_id), ("status", ending.status)), ending.seconds)

        return end

    def as_json(self) -> dict[str, Any]:
        """Returns the counts as `/metrics?format=json` shows them under `api`."""
        requests, runs = self._requests, self._runs
        return {
            "http_requests_total": [{**dict(labels), "count": count} for labels, count in requests.counts.items()],
            "http_requests_latency": [
                {**dict(labels), "seconds": round(seconds, 6)} for labels, seconds in requests.seconds.items()
            ],
            "runs_total": [{**dict(labels), "count": count} for labels, count in runs.counts.items()],
            "runs_duration": [
                {**dict(labels), "seconds": round(seconds, 6)} for labels, seconds in runs.seconds.items()
            ],
        }

    def report(self, prefix: str, workers: tuple[int, int]) -> Report:
        """Returns what this process exposes. `prefix` is put before the server's own names; `workers` are its run slots (total,
        in use).
        """
        most, active = workers
        slots = {"max": most, "active": active, "available": max(most - active, 0)}
        figures = [
            *_of_process(),
            self._requests.total(f"{prefix}http_requests", "HTTP requests answered."),
            self._requests.figure(prefix),
            self._runs.total(f"{prefix}runs", "Attempts at runs that ended."),
            self._runs.figure(prefix),
            *(_gauge(f"{prefix}workers_{what}", f"Runs executed at once: {what}.", n) for what, n in slots.items()),
        ]
        return Report(figures, self.as_json(), workers)


def of_queue(prefix: str, queue: Mapping[str, Any]) -> list[Figure]:
    """Returns the metrics of the queue, which all processes share."""
    return [
        _gauge(f"{prefix}queue_{what}", f"The queue of runs: {what}.", 0 if number is None else number)
        for what, number in queue.items()
    ]


def _texts(labels: Labels) -> dict[str, str]:
    return {name: str(value) for name, value in labels}


def _gauge(name: str, text: str, value: float) -> Figure:
    return Figure(name, text, "gauge", [Sample(name, value)])


def _of_process() -> Iterator[Figure]:
    """Yields `python_*` and `process_*`. Without /proc, as on macOS, the library provides no process metrics."""
    for collector in (PLATFORM_COLLECTOR, GC_COLLECTOR, PROCESS_COLLECTOR):
        for metric in collector.collect():
            samples = [Sample(sample.name, sample.value, sample.labels) for sample in metric.samples]
            yield Figure(metric.name, metric.documentation, metric.type, samples)
    # The peak is in bytes on macOS and in KiB elsewhere.
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * (1 if sys.platform == "darwin" else 1024)
    yield _gauge("process_resident_memory_max_bytes", "Largest resident memory so far.", peak)
