"""A cron that comes due makes one run, however many processes look."""

import asyncio
import time
from pathlib import Path

import asyncpg

from tests import cluster
from tests.risk.cluster_tools import APP, until

CRONS = 8
ROUNDS = 3


def test_cron_once(tmp_path: Path, database) -> None:
    async def fall_due() -> None:
        connection = await asyncpg.connect(database)
        await connection.execute("UPDATE threadloom.crons SET next_run_date = $1", time.time_ns() // 1000)
        await connection.close()

    env = {"DATABASE_URI": database, "CRON_SCHEDULER_SLEEP_TIME": "0.02"}
    with cluster.running(APP, tmp_path, env=env) as served, served.client() as client:
        crons = []
        for _ in range(CRONS):
            thread = client.post("/threads", json={}).json()["thread_id"]
            body = {"assistant_id": "counter", "schedule": "0 0 1 1 *", "input": {"n": 1}}
            cron = client.post(f"/threads/{thread}/runs/crons", json=body).raise_for_status().json()
            crons.append((thread, cron["cron_id"]))
        for made in range(1, ROUNDS + 1):
            asyncio.run(fall_due())

            def counts() -> list[int]:
                return [len(client.get(f"/threads/{thread}/runs").json()) for thread, _ in crons]

            until(lambda: min(counts()) >= made, "each cron's run")  # noqa: B023
            time.sleep(0.3)
            assert counts() == [made] * CRONS
