"""Serves an app on one port from several processes on a PostgreSQL of its own, until it is told to stop.

    python -m tests.serve_cluster --config langgraph.json --port 2024 [--redis]

Made for test suites that know nothing but a URL, and a command that serves in the foreground.
"""

import argparse
import contextlib
import os
import signal
import sys
import tempfile
import threading
from pathlib import Path

from tests import cluster, postgres_server, redis_server


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--config", type=Path, required=True)
    parser.add_argument("--port", type=int, required=True)
    parser.add_argument("--redis", action="store_true", help="messages between processes go over Redis")
    parser.add_argument("--apis", type=int, default=2)
    parser.add_argument("--workers", type=int, default=2)
    given = parser.parse_args()
    stop = threading.Event()
    for number in (signal.SIGTERM, signal.SIGINT):
        signal.signal(number, lambda *_: stop.set())
    with contextlib.ExitStack() as stack:
        folder = Path(stack.enter_context(tempfile.TemporaryDirectory(prefix="threadloom-cluster-")))
        postgres = stack.enter_context(postgres_server.running())
        env = {"DATABASE_URI": postgres.uri, "LANGGRAPH_API_URL": f"http://127.0.0.1:{given.port}"}
        if given.redis:
            env["REDIS_URI"] = stack.enter_context(redis_server.running(folder)).uri
        processes = cluster.running(
            given.config.absolute(), folder, env=env, apis=given.apis, workers=given.workers, port=given.port
        )
        served = stack.enter_context(processes)
        print(f"{given.apis} API and {given.workers} worker processes at {served.url}", flush=True)
        stop.wait()
        if os.environ.get("THREADLOOM_SHOW_LOGS"):
            print(served.logs(), flush=True)
    return 0


if __name__ == "__main__":
    sys.exit(main())
