"""What is counted of requests, and how figures are shown to Prometheus."""

import gc
import platform
import resource
import sys
import time
from bisect import bisect_left
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any

from threadloom.engine.observe import Ending, Tell
from threadloom.types import Run

REQUEST_SECONDS = (0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0, 30.0, 60.0)
"""Upper bounds of the histogram of requests."""

RUN_SECONDS = (0.01, 0.05, 0.1, 0.5, 1.0, 5.0, 10.0, 30.0, 60.0, 300.0, 1800.0, 7200.0)
"""Upper bounds of the histogram of runs."""

CONTENT_TYPE = "text/plain; version=1.0.0; charset=utf-8"
_STARTED = time.time()

Labels = tuple[tuple[str, str | int], ...]


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

    def exposition(self, prefix: str) -> Iterable[str]:
        """The lines of Prometheus' text format."""
        name = prefix + self.name
        yield f"# HELP {name} {self._text}"
        yield f"# TYPE {name} histogram"
        for labels, buckets in self._buckets.items():
            told = _labels(labels)
            below = 0
            for bound, count in zip((*map(str, self._bounds), "+Inf"), buckets, strict=True):
                below += count
                yield f'{name}_bucket{{{told},le="{bound}"}} {below}'
            yield f"{name}_sum{{{told}}} {self.seconds[labels]:.6f}"
            yield f"{name}_count{{{told}}} {self.counts[labels]}"


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

    def exposition(self, prefix: str, queue: Mapping[str, Any], workers: tuple[int, int]) -> str:
        """All figures in Prometheus' text format. `prefix` goes before our own names."""
        lines = [*_of_python(), *_of_process()]
        for total, text, of in (
            ("http_requests_total", "HTTP requests answered.", self._requests),
            ("runs_total", "Attempts at runs that ended.", self._runs),
        ):
            name = prefix + total
            lines += [f"# HELP {name} {text}", f"# TYPE {name} counter"]
            lines += [f"{name}{{{_labels(labels)}}} {count}" for labels, count in of.counts.items()]
            lines += of.exposition(prefix)
        most, active = workers
        figures = {"max": most, "active": active, "available": max(most - active, 0)}
        for what, number in figures.items():
            lines += _gauge(f"{prefix}workers_{what}", f"Runs executed at once: {what}.", number)
        for what, number in queue.items():
            lines += _gauge(f"{prefix}queue_{what}", f"The queue of runs: {what}.", 0 if number is None else number)
        return "\n".join(lines) + "\n"


def _labels(labels: Labels) -> str:
    return ",".join(f'{name}="{_escaped(value)}"' for name, value in labels)


def _escaped(value: str | int) -> str:
    return str(value).replace("\\", "\\\\").replace('"', '\\"').replace("\n", "\\n")


def _gauge(name: str, text: str, value: float) -> Iterable[str]:
    return (f"# HELP {name} {text}", f"# TYPE {name} gauge", f"{name} {value}")


def _of_python() -> Iterable[str]:
    version = platform.python_version()
    yield "# HELP python_info Python platform information."
    yield "# TYPE python_info gauge"
    yield f'python_info{{implementation="{platform.python_implementation()}",version="{version}"}} 1'
    collected = [generation["collected"] for generation in gc.get_stats()]
    yield "# HELP python_gc_objects_collected_total Objects collected during gc."
    yield "# TYPE python_gc_objects_collected_total counter"
    for generation, number in enumerate(collected):
        yield f'python_gc_objects_collected_total{{generation="{generation}"}} {number}'
    yield "# HELP python_gc_collections_total Number of times a generation was collected."
    yield "# TYPE python_gc_collections_total counter"
    for generation, figures in enumerate(gc.get_stats()):
        yield f'python_gc_collections_total{{generation="{generation}"}} {figures["collections"]}'


def _of_process() -> Iterable[str]:
    used = resource.getrusage(resource.RUSAGE_SELF)
    yield "# HELP process_cpu_seconds_total User and system CPU time spent, in seconds."
    yield "# TYPE process_cpu_seconds_total counter"
    yield f"process_cpu_seconds_total {used.ru_utime + used.ru_stime:.2f}"
    # The peak is in bytes on macOS and in kB elsewhere.
    peak = used.ru_maxrss * (1 if sys.platform == "darwin" else 1024)
    yield from _gauge("process_resident_memory_max_bytes", "Largest resident memory so far.", peak)
    pages = Path("/proc/self/statm")
    if pages.exists():
        virtual, resident = (int(number) * resource.getpagesize() for number in pages.read_text().split()[:2])
        yield from _gauge("process_virtual_memory_bytes", "Virtual memory.", virtual)
        yield from _gauge("process_resident_memory_bytes", "Resident memory.", resident)
        yield from _gauge("process_open_fds", "Open file descriptors.", len(list(Path("/proc/self/fd").iterdir())))
    yield from _gauge(
        "process_max_fds", "File descriptors that may be open.", resource.getrlimit(resource.RLIMIT_NOFILE)[0]
    )
    yield from _gauge("process_start_time_seconds", "Start of the process, in seconds since 1970.", round(_STARTED, 2))
