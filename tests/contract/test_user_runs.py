"""What every storage counts of a user's runs."""

import pytest

from threadloom.types import Run

pytestmark = pytest.mark.anyio


def run(run_id, user_id, status="pending", thread_id="t"):
    return Run(
        run_id=run_id,
        thread_id=thread_id,
        assistant_id="a",
        status=status,
        created_at=1,
        updated_at=1,
        metadata={},
        kwargs={"config": {"configurable": {"graph_id": "g"}}},
        multitask_strategy="enqueue",
        due=1,
        user_id=user_id,
    )


async def test_a_users_runs_that_are_still_to_end_are_counted(storage):
    async def put(tx):
        for one in (
            run("1", "ann"),
            run("2", "ann", thread_id="u"),
            run("3", "ann"),
            run("4", "bob"),
            run("5", ""),
        ):
            await tx.runs.insert(one)
        await tx.runs.set_status("3", "success", updated_at=2, ended_at=2)

    async def counts(tx):
        return [
            await tx.runs.count_active_of_user("ann"),
            await tx.runs.count_active_of_user("ann", besides="u"),
            await tx.runs.count_active_of_user("bob"),
            await tx.runs.count_active_of_user(""),
            await tx.runs.count_active_of_user("cat"),
        ]

    await storage.write(put)
    assert await storage.read(counts) == [2, 1, 1, 1, 0]
    assert (await storage.read(lambda tx: tx.runs.get("1"))).user_id == "ann"
    assert (await storage.read(lambda tx: tx.runs.get("5"))).user_id == ""
