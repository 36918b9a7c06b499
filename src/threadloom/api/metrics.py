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

BUCKETS = (0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0, 30.0, 60.0)
"""Upper bounds of the latency histogram, in seconds."""

CONTENT_TYPE = "text/plain; version=1.0.0; charset=utf-8"
_STARTED = time.time()

Key = tuple[str, str, int]


class Metrics:
    """Counts finished requests by method, path of the route (templates, not ids) and status."""

    def __init__(self) -> None:
        self._counts: dict[Key, int] = {}
        self._seconds: dict[Key, float] = {}
        self._buckets: dict[Key, list[int]] = {}

    def note(self, method: str, template: str, status: int, seconds: float) -> None:
        """Counts one request that took so long."""
        key = (method, template, status)
        buckets = self._buckets.get(key)
        if buckets is None:
            buckets = self._buckets[key] = [0] * (len(BUCKETS) + 1)
            self._counts[key] = 0
            self._seconds[key] = 0.0
        self._counts[key] += 1
        self._seconds[key] += seconds
        buckets[bisect_left(BUCKETS, seconds)] += 1

    def as_json(self) -> dict[str, Any]:
        """The counts as `/metrics?format=json` shows them under `api`."""
        return {
            "http_requests_total": [
                {"method": method, "path": path, "status": status, "count": count}
                for (method, path, status), count in self._counts.items()
            ],
            "http_requests_latency": [
                {
                    "method": method,
                    "path": path,
                    "status": status,
                    "seconds": round(seconds, 6),
                }
                for (method, path, status), seconds in self._seconds.items()
            ],
        }

    def exposition(self, prefix: str, queue: Mapping[str, Any], workers: tuple[int, int]) -> str:
        """All figures in Prometheus' text format. `prefix` goes before our own names."""
        lines = [*_of_python(), *_of_process()]
        name = f"{prefix}http_requests_total"
        lines += [f"# HELP {name} HTTP requests answered.", f"# TYPE {name} counter"]
        lines += [f"{name}{{{_labels(key)}}} {count}" for key, count in self._counts.items()]
        name = f"{prefix}http_requests_latency"
        lines += [f"# HELP {name} Seconds from request to the end of its answer.", f"# TYPE {name} histogram"]
        for key, buckets in self._buckets.items():
            below = 0
            for bound, count in zip((*map(str, BUCKETS), "+Inf"), buckets, strict=True):
                below += count
                lines.append(f'{name}_bucket{{{_labels(key)},le="{bound}"}} {below}')
            lines.append(f"{name}_sum{{{_labels(key)}}} {self._seconds[key]:.6f}")
            lines.append(f"{name}_count{{{_labels(key)}}} {self._counts[key]}")
        most, active = workers
        figures = {"max": most, "active": active, "available": max(most - active, 0)}
        for what, number in figures.items():
            lines += _gauge(f"{prefix}workers_{what}", f"Runs executed at once: {what}.", number)
        for what, number in queue.items():
            lines += _gauge(f"{prefix}queue_{what}", f"The queue of runs: {what}.", 0 if number is None else number)
        return "\n".join(lines) + "\n"


def _labels(key: Key) -> str:
    method, path, status = key
    escaped = path.replace("\\", "\\\\").replace('"', '\\"').replace("\n", "\\n")
    return f'method="{method}",path="{escaped}",status="{status}"'


def _gauge(name: str, text: str, value: float) -> Iterable[str]:
    return (f"# HELP {name} {text}", f"# TYPE {name} gauge", f"{name} {value}")


def _of_python() -> Iterable[str]:
    version = platform.python_version()
    yield "# HELP python_info Python platform information."
    yield "# TYPE python_info gauge"
    yield f'python_info{{implementation="{platform.python_implementation()}",version="{version}"}} 1'
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
        resident = int(pages.read_text().split()[1]) * resource.getpagesize()
        yield from _gauge("process_resident_memory_bytes", "Resident memory.", resident)
        yield from _gauge("process_open_fds", "Open file descriptors.", len(list(Path("/proc/self/fd").iterdir())))
    yield from _gauge("process_start_time_seconds", "Start of the process, in seconds since 1970.", round(_STARTED, 2))
