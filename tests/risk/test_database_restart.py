"""The database goes away under load, in order or by a crash, and comes back: it costs time and nothing else."""

import time
from pathlib import Path

import pytest

from tests import cluster, postgres_server
from tests.risk.cluster_tools import APP, check_whole, ended, rejoined, until
from tests.risk.test_kill_nine_processes import Load


@pytest.mark.parametrize("how", ["stop", "kill"])
def test_database_restart(tmp_path: Path, how: str) -> None:
    with postgres_server.running() as postgres:
        env = {"DATABASE_URI": postgres.uri, "RESUMABLE_STREAM_TTL_SECONDS": "600"}
        with cluster.running(APP, tmp_path, env=env) as served, served.client() as client:
            with Load(served.url) as load:
                until(lambda: len(load.runs) > 3, "runs")
                getattr(postgres, how)()
                time.sleep(1.5)
                assert client.get("/live").status_code == 200
                answer = client.get("/ok")
                assert answer.status_code == 503
                postgres.start()
                until(lambda: client.get("/ok").status_code == 200, "the processes ready again")
                count = len(load.runs)
                until(lambda: len(load.runs) > count + 3, "runs after the restart")
            assert load.faults == []
            for thread, run in load.runs:
                assert ended(client, thread, run) == "success"
                check_whole(load.seen[run], rejoined(client, thread, run))
            for key in load.items:
                item = client.get("/store/items", params={"namespace": "kills", "key": key}).json()
                assert item["value"] == {"key": key}
