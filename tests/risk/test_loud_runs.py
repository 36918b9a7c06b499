"""However much one run tells, the streams of others on the same worker lose nothing and are not held up, and its own is whole"""

import threading
import time
from collections.abc import Iterator
from typing import Any

import httpx
import pytest

from tests import cluster
from tests.postgres_server import database_in
from tests.risk.cluster_tools import APP, Frame, frames, until
from tests.risk.test_unread_streams import web_socket

LOUD = {"assistant_id": "firehose", "input": {"events": 800, "size": 50_000}, "stream_mode": ["custom"]}
"""40 MB, all at once."""

STEPS = 30
QUIET = {"assistant_id": "steps", "input": {"todo": STEPS, "pause": 0.05}, "stream_mode": ["updates"]}


@pytest.fixture(scope="module", params=["postgres", "redis"])
def served(
    request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory, postgres_uri: str
) -> Iterator[cluster.Cluster]:
    folder = tmp_path_factory.mktemp("loud")
    with database_in(postgres_uri) as database:
        env = {"DATABASE_URI": database}
        if request.param == "redis":
            env["REDIS_URI"] = request.getfixturevalue("redis_uri")
        with cluster.running(APP, folder, env=env, apis=2, workers=1) as served:
            yield served


class Reader(threading.Thread):
    """Reads a stream to its end. Of each event its name and when it came is kept, of the last ones all."""

    def __init__(self, method: str, url: str, body: Any = None) -> None:
        super().__init__(daemon=True)
        self._request = (method, url, body)
        self.names: list[str] = []
        self.times: list[float] = []
        self.last: Frame | None = None
        self.opened = threading.Event()
        self.ended: float | None = None
        self.start()

    def run(self) -> None:
        method, url, body = self._request
        with httpx.stream(method, url, json=body, timeout=60) as answer:
            self.opened.set()
            for frame in frames(answer.iter_lines()):
                self.names.append(frame.name)
                self.times.append(time.monotonic())
                self.last = frame
        self.ended = time.monotonic()

    def silence(self) -> float:
        """The longest that it waited for an event."""
        return max(after - before for before, after in zip(self.times, self.times[1:], strict=False))


def test_loud_runs_disturb_nobody(served: cluster.Cluster) -> None:
    url = served.apis[0].url
    quiet = [Reader("POST", f"{url}/runs/stream", QUIET) for _ in range(3)]
    until(lambda: all("updates" in reader.names for reader in quiet), "the quiet runs begun")
    loud = [Reader("POST", f"{url}/runs/stream", LOUD) for _ in range(3)]
    assert httpx.post(f"{url}/runs/wait", json=LOUD, timeout=60).status_code == 200
    for reader in [*quiet, *loud]:
        reader.join(60)
    for reader in quiet:
        assert reader.names.count("updates") == STEPS
        assert "error" not in reader.names
    assert [reader.names.count("custom") for reader in loud] == [800] * 3
    assert not any("error" in reader.names for reader in loud)
    # A step takes 0.05 s; that the machine has 160 MB to move at once takes its time.
    assert max(reader.silence() for reader in quiet) < 3
    told = [line for line in served.logs().splitlines() if "dropped" in line or "cannot be reached" in line]
    assert told == []


def test_deleting_a_thread_ends_its_streams_in_every_process(served: cluster.Cluster) -> None:
    one, other = served.apis
    thread = httpx.post(f"{one.url}/threads", json={}).json()["thread_id"]
    path = f"/threads/{thread}/stream"
    streams = [Reader("GET", f"{api.url}{path}") for api in served.apis]
    streams += [Reader("POST", f"{api.url}{path}/events", {"channels": ["values"]}) for api in served.apis]
    for reader in streams:
        reader.opened.wait(60)
    socket = web_socket(other, thread)
    until(lambda: "replayed_events" in socket.more(), "the subscription")
    began = time.monotonic()
    assert httpx.delete(f"{one.url}/threads/{thread}", timeout=60).is_success
    until(lambda: all(reader.ended for reader in streams), "the ends of the streams", 10)
    assert max(reader.ended or 0 for reader in streams) - began < 5
    until(lambda: "cannot be read any more" in socket.more(), "the end of the web socket")
    socket.close()
