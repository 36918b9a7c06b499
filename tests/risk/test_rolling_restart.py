"""All processes are replaced, one after the other, under load: nobody notices."""

import signal
from pathlib import Path

import httpx

from tests import cluster
from tests.risk.cluster_tools import APP, Times, check_whole, ended, rejoined, until
from tests.risk.test_kill_nine_processes import STEPS, Load


class Strict(Load):
    """Load of which no call may fail."""

    def _call(self, number: int) -> None:
        made = 0
        with httpx.Client(base_url=self.url, timeout=20) as client:
            while not self.stop.is_set():
                made += 1
                try:
                    self._once(client, f"{number}-{made}")
                except (httpx.TransportError, AssertionError) as fault:
                    self.faults.append(repr(fault))


def test_rolling_restart(tmp_path: Path, database) -> None:
    times = tmp_path / "times"
    env = {
        "DATABASE_URI": database,
        "RISK_TIMES": str(times),
        "RESUMABLE_STREAM_TTL_SECONDS": "600",
        "BG_JOB_SHUTDOWN_GRACE_PERIOD_SECS": "15",
    }
    with cluster.running(APP, tmp_path, env=env) as served, served.client() as client:
        with Strict(served.url) as load:
            until(lambda: len(load.runs) > 3, "runs")
            for process in served.processes:
                process.tell(signal.SIGTERM)
                assert process.process is not None
                assert process.process.wait(30) == 0
                process.start()
                until(lambda: httpx.get(f"{process.url}/ok").status_code == 200, "the new one ready")  # noqa: B023
        assert load.faults == []
        assert len(load.items) == len(load.runs)
        for thread, run in load.runs:
            assert ended(client, thread, run) == "success"
            check_whole(load.seen[run], rejoined(client, thread, run))
            # Each run ended where it had begun.
            assert '"attempt":1' in load.seen[run][0].data
    spans = Times(times).spans
    assert all(sorted(number for _, _, number, _ in own) == list(range(STEPS)) for own in spans.values())
    assert all(len({pid for _, _, _, pid in own}) == 1 for own in spans.values())


def test_what_does_not_end_in_time_goes_on_elsewhere_at_once(tmp_path: Path, database) -> None:
    times = tmp_path / "times"
    env = {"DATABASE_URI": database, "RISK_TIMES": str(times), "BG_JOB_SHUTDOWN_GRACE_PERIOD_SECS": "1"}
    with (
        cluster.running(APP, tmp_path, env=env, apis=1) as served,
        served.client() as client,
    ):
        thread = client.post("/threads", json={}).json()["thread_id"]
        body = {"assistant_id": "steps", "input": {"todo": 20, "pause": 0.3}, "stream_resumable": True}
        run = client.post(f"/threads/{thread}/runs", json=body).json()["run_id"]
        until(lambda: len(Times(times).spans[run]) >= 2, "some steps")
        [pid] = set(Times(times).pids(run))
        served.of_pid(pid).tell(signal.SIGTERM)
        assert ended(client, thread, run) == "success"
        spans = sorted(Times(times).spans[run], key=lambda span: span[0])
        assert len({pid for _, _, _, pid in spans}) == 2
        cut = next(index for index, span in enumerate(spans) if span[3] != pid)
        before, after = spans[cut - 1], spans[cut]
        # What was cut off is made anew, nothing else, and without waiting for a lease to end.
        assert len(spans) in (20, 21)
        assert after[0] - before[0] < 2
        assert after[2] in (before[2], before[2] + 1)
        told = [frame.data for frame in rejoined(client, thread, run) if frame.name == "metadata"]
        assert len(told) == 2
        assert all('"attempt":1' in data for data in told), "being handed back counts as an attempt"
