"""What is counted of requests and runs, and how figures are shown to Prometheus, of one process or of several."""

import gc
import platform
import resource
import sys
import time
from bisect import bisect_left
from collections.abc import Iterable, Iterator, Mapping
from pathlib import Path
from typing import Any, Literal

import msgspec

from threadloom.engine.observe import Ending, Tell
from threadloom.types import Run

REQUEST_SECONDS = (0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0, 30.0, 60.0)
"""Upper bounds of the histogram of requests."""

RUN_SECONDS = (0.01, 0.05, 0.1, 0.5, 1.0, 5.0, 10.0, 30.0, 60.0, 300.0, 1800.0, 7200.0)
"""Upper bounds of the histogram of runs."""

CONTENT_TYPE = "text/plain; version=1.0.0; charset=utf-8"
_STARTED = time.time()

COUNTED = {"count", "seconds"}
"""What of a JSON entry is a number to be added up; the rest are labels."""

Labels = tuple[tuple[str, str | int], ...]


class Sample(msgspec.Struct, frozen=True, array_like=True):
    """One value of a figure. `suffix` is what follows the figure's name (`_bucket`, `_sum` …)."""

    value: float
    labels: Labels = ()
    suffix: str = ""


class Figure(msgspec.Struct, frozen=True):
    """What Prometheus calls a metric family: a name, what it means, and its values."""

    name: str
    text: str
    kind: Literal["counter", "gauge", "histogram"]
    samples: list[Sample]


class Report(msgspec.Struct, frozen=True):
    """What one process tells of itself: its figures, the same counts as JSON, and its places for runs (all, taken)."""

    figures: list[Figure]
    counts: dict[str, list[dict[str, Any]]]
    workers: tuple[int, int]


def render(figures: Iterable[Figure]) -> str:
    """Prometheus' text format."""
    lines = []
    for figure in figures:
        lines += [f"# HELP {figure.name} {figure.text}", f"# TYPE {figure.name} {figure.kind}"]
        for sample in figure.samples:
            labels = ",".join(f'{name}="{_escaped(value)}"' for name, value in sample.labels)
            told = f"{{{labels}}}" if labels else ""
            lines.append(f"{figure.name}{sample.suffix}{told} {_number(sample.value)}")
    return "\n".join(lines) + "\n"


def of_all(reports: Mapping[str, Report]) -> list[Figure]:
    """The figures of several processes as one: each value has the label `process` with the name of its process.

    The one process that has no others is named "", and its values have no such label.
    """
    found: dict[str, Figure] = {}
    for process, report in reports.items():
        for figure in report.figures:
            whole = found.setdefault(figure.name, msgspec.structs.replace(figure, samples=[]))
            named: Labels = (("process", process),) if process else ()
            whole.samples.extend(Sample(one.value, (*named, *one.labels), one.suffix) for one in figure.samples)
    return list(found.values())


def added_up(reports: Iterable[Report]) -> Report:
    """The counts and places of several processes added up. It has no figures."""
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
        name: after the prefix.
        text: what is measured.
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
        """Counts one that took so long."""
        buckets = self._buckets.get(labels)
        if buckets is None:
            buckets = self._buckets[labels] = [0] * (len(self._bounds) + 1)
            self.counts[labels] = 0
            self.seconds[labels] = 0.0
        self.counts[labels] += 1
        self.seconds[labels] += seconds
        buckets[bisect_left(self._bounds, seconds)] += 1

    def figure(self, prefix: str) -> Figure:
        """The histogram as Prometheus knows it."""
        samples = []
        for labels, buckets in self._buckets.items():
            below = 0
            for bound, count in zip((*map(str, self._bounds), "+Inf"), buckets, strict=True):
                below += count
                samples.append(Sample(below, (*labels, ("le", bound)), "_bucket"))
            samples.append(Sample(round(self.seconds[labels], 6), labels, "_sum"))
            samples.append(Sample(self.counts[labels], labels, "_count"))
        return Figure(prefix + self.name, self._text, "histogram", samples)

    def total(self, name: str, text: str) -> Figure:
        """How many there were, as a counter."""
        return Figure(name, text, "counter", [Sample(count, labels) for labels, count in self.counts.items()])


class Metrics:
    """Counts finished requests by method, path of the route (templates, not ids) and status, and ended runs by graph and
    status."""

    def __init__(self) -> None:
        self._requests = Histogram(
            "http_requests_latency", "Seconds from request to the end of its answer.", REQUEST_SECONDS
        )
        self._runs = Histogram("runs_duration_seconds", "Seconds that runs were executed.", RUN_SECONDS)

    def note(self, method: str, template: str, status: int, seconds: float) -> None:
        """Counts one request that took so long."""
        self._requests.note((("method", method), ("path", template), ("status", status)), seconds)

    def observe(self, run: Run) -> Tell:
        """Counts an attempt at a run when it has ended; see `engine.observe.Observer`."""

        def end(ending: Ending) -> None:
            self._runs.note((("graph", run.graph_id), ("status", ending.status)), ending.seconds)

        return end

    def as_json(self) -> dict[str, Any]:
        """The counts as `/metrics?format=json` shows them under `api`."""
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
        """What this process tells of itself. `prefix` goes before our own names."""
        most, active = workers
        places = {"max": most, "active": active, "available": max(most - active, 0)}
        figures = [
            *_of_python(),
            *_of_process(),
            self._requests.total(f"{prefix}http_requests_total", "HTTP requests answered."),
            self._requests.figure(prefix),
            self._runs.total(f"{prefix}runs_total", "Attempts at runs that ended."),
            self._runs.figure(prefix),
            *(_gauge(f"{prefix}workers_{what}", f"Runs executed at once: {what}.", n) for what, n in places.items()),
        ]
        return Report(figures, self.as_json(), workers)


def of_queue(prefix: str, queue: Mapping[str, Any]) -> list[Figure]:
    """The figures of the queue, which all processes share."""
    return [
        _gauge(f"{prefix}queue_{what}", f"The queue of runs: {what}.", 0 if number is None else number)
        for what, number in queue.items()
    ]


def _escaped(value: str | int) -> str:
    return str(value).replace("\\", "\\\\").replace('"', '\\"').replace("\n", "\\n")


def _number(value: float) -> str:
    return str(int(value)) if value == int(value) else f"{value:.6f}"


def _gauge(name: str, text: str, value: float) -> Figure:
    return Figure(name, text, "gauge", [Sample(value)])


def _of_python() -> Iterator[Figure]:
    about = (("implementation", platform.python_implementation()), ("version", platform.python_version()))
    yield Figure("python_info", "Python platform information.", "gauge", [Sample(1, about)])
    for what, text in (
        ("collected", "Objects collected during gc."),
        ("collections", "Times a generation was collected."),
    ):
        name = "python_gc_objects_collected_total" if what == "collected" else "python_gc_collections_total"
        numbers = enumerate(generation[what] for generation in gc.get_stats())
        yield Figure(name, text, "counter", [Sample(number, (("generation", of),)) for of, number in numbers])


def _of_process() -> Iterator[Figure]:
    used = resource.getrusage(resource.RUSAGE_SELF)
    seconds = Sample(round(used.ru_utime + used.ru_stime, 2))
    yield Figure("process_cpu_seconds_total", "User and system CPU time spent, in seconds.", "counter", [seconds])
    # The peak is in bytes on macOS and in kB elsewhere.
    peak = used.ru_maxrss * (1 if sys.platform == "darwin" else 1024)
    yield _gauge("process_resident_memory_max_bytes", "Largest resident memory so far.", peak)
    pages = Path("/proc/self/statm")
    if pages.exists():
        virtual, resident = (int(number) * resource.getpagesize() for number in pages.read_text().split()[:2])
        yield _gauge("process_virtual_memory_bytes", "Virtual memory.", virtual)
        yield _gauge("process_resident_memory_bytes", "Resident memory.", resident)
        yield _gauge("process_open_fds", "Open file descriptors.", len(list(Path("/proc/self/fd").iterdir())))
    most = resource.getrlimit(resource.RLIMIT_NOFILE)[0]
    yield _gauge("process_max_fds", "File descriptors that may be open.", most)
    yield _gauge("process_start_time_seconds", "Start of the process, in seconds since 1970.", round(_STARTED, 2))
