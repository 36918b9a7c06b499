"""A cron that comes due makes one run, however many processes look, and whenever they die."""

import asyncio
import contextlib
import time
from collections.abc import AsyncIterator, Callable
from pathlib import Path
from typing import Any

import asyncpg
import httpx

from tests import cluster
from tests.risk.cluster_tools import APP, FINAL, until

CRONS = 8

GATES = """
CREATE TABLE public.gates (place text PRIMARY KEY, closed boolean NOT NULL);
INSERT INTO public.gates VALUES ('noting', false), ('committing', false);
CREATE FUNCTION public.gate() RETURNS trigger LANGUAGE plpgsql AS $$
BEGIN
    WHILE (SELECT closed FROM public.gates WHERE place = TG_ARGV[0]) LOOP
        PERFORM pg_sleep(0.02);
    END LOOP;
    RETURN NEW;
END
$$;
CREATE TRIGGER noting BEFORE UPDATE OF last_run_id ON threadloom.crons FOR EACH ROW EXECUTE FUNCTION public.gate('noting');
CREATE CONSTRAINT TRIGGER committing AFTER UPDATE ON threadloom.crons DEFERRABLE INITIALLY DEFERRED
FOR EACH ROW WHEN (old.last_run_id IS DISTINCT FROM new.last_run_id) EXECUTE FUNCTION public.gate('committing');
"""
"""Gates in the database at which whoever fires a cron can be held: after its run was made and before that is noted, and after all
of it, as it is being committed."""

HELD = "SELECT count(*) FROM pg_stat_activity WHERE wait_event = 'PgSleep'"
DUE = "SELECT count(*) FROM threadloom.crons WHERE next_run_date <= $1"


def test_cron_once(tmp_path: Path, database: str) -> None:
    """Eight crons fall due at once, before two processes. Then they do so again, and both are killed while a firing is held at a
    gate. What was not committed is fired by those that start then; what was is not fired again."""

    def ask(work: Callable[[Any], Any]) -> Any:
        async def asking() -> Any:
            async with connected(database) as connection:
                return await work(connection)

        return asyncio.run(asking())

    def fall_due() -> None:
        due = time.time_ns() // 1000
        ask(lambda connection: connection.execute("UPDATE threadloom.crons SET next_run_date = $1", due))

    def close(gate: str, closed: bool) -> None:
        ask(lambda connection: connection.execute("UPDATE public.gates SET closed = $1 WHERE place = $2", closed, gate))

    env = {"DATABASE_URI": database, "CRON_SCHEDULER_SLEEP_TIME": "0.02"}
    with cluster.running(APP, tmp_path, env=env, apis=1, workers=1) as served, served.client() as client:
        crons = []
        for _ in range(CRONS):
            thread = client.post("/threads", json={}).json()["thread_id"]
            body = {"assistant_id": "counter", "schedule": "0 0 1 1 *", "input": {"n": 1}}
            cron = client.post(f"/threads/{thread}/runs/crons", json=body).raise_for_status().json()
            crons.append((thread, cron["cron_id"]))
        ask(lambda connection: connection.execute(GATES))

        def runs(thread: str) -> list[dict[str, Any]]:
            with contextlib.suppress(httpx.TransportError):
                found: list[dict[str, Any]] = client.get(f"/threads/{thread}/runs").raise_for_status().json()
                return found
            return []

        def made() -> list[int]:
            return [len(runs(thread)) for thread, _ in crons]

        fall_due()
        until(lambda: min(made()) >= 1, "each cron's run")
        time.sleep(0.3)
        assert made() == [1] * CRONS

        for rounds, gate in enumerate(("noting", "committing"), start=2):
            close(gate, True)
            fall_due()
            until(lambda: ask(lambda connection: connection.fetchval(HELD)), "a firing that is held")
            for process in served.processes:
                process.kill()
            close(gate, False)
            until(lambda: not ask(lambda connection: connection.fetchval(HELD)), "what was held has ended")
            # A firing whose end was not noted is undone whole: nothing was made, the date is still the old one. One that was
            # being committed is there whole.
            waiting = ask(lambda connection: connection.fetchval(DUE, time.time_ns() // 1000))
            count = ask(lambda connection: connection.fetchval("SELECT count(*) FROM threadloom.runs"))
            assert count + waiting == rounds * CRONS
            assert (waiting == CRONS) == (gate == "noting")

            for process in served.processes:
                process.launch()
            for process in served.processes:
                process.await_ready()
            until(lambda: min(made()) >= rounds, "each cron's next run")  # noqa: B023
            time.sleep(0.3)
            assert made() == [rounds] * CRONS
        until(lambda: all(run["status"] in FINAL for thread, _ in crons for run in runs(thread)), "all ends")
        for thread, cron_id in crons:
            assert [run["status"] for run in runs(thread)] == ["success"] * 3
            assert {run["metadata"]["cron_id"] for run in runs(thread)} == {cron_id}
            assert client.get(f"/threads/{thread}/state").json()["values"]["n"] == 6
            noted = ask(
                lambda connection, cron_id=cron_id: connection.fetchval(
                    "SELECT last_run_id FROM threadloom.crons WHERE cron_id = $1", cron_id
                )
            )
            assert noted == runs(thread)[0]["run_id"]


@contextlib.asynccontextmanager
async def connected(uri: str) -> AsyncIterator[Any]:
    connection = await asyncpg.connect(uri)
    try:
        yield connection
    finally:
        await connection.close()
