"""Copies made all the time while several processes write: each reads the same for ever, and is a prefix of what was put."""

import itertools
import subprocess
import sys
import time

import pytest

from tests.risk.copied_writer import THREADS
from tests.storages import opened

pytestmark = pytest.mark.anyio

SECONDS = 6
PROCESSES = 2


@pytest.fixture
async def storage(request, tmp_path):
    async with opened("postgres", request, tmp_path) as storage:
        yield storage


@pytest.fixture
def writers(storage, postgres_uri):
    """Processes that write until they are told to stop."""
    command = [sys.executable, "-m", "tests.risk.copied_writer", postgres_uri]
    processes = [
        subprocess.Popen([*command, f"w{number}"], stdin=subprocess.PIPE, stdout=subprocess.PIPE)
        for number in range(PROCESSES)
    ]
    for process in processes:
        assert process.stdout.readline() == b"ready\n"
    yield processes
    for process in processes:
        process.kill()
        process.wait()
        process.stdout.close()


async def shown(storage, thread):
    """All that a thread shows: each row's position, and what it is."""
    rows = {}
    for checkpoint in await storage.read(lambda tx: tx.lineage.history(thread), heavy=True):
        rows[checkpoint.pos] = (checkpoint.checkpoint_id, checkpoint.body, checkpoint.blobs[checkpoint.refs["x"]])
        rows |= {write.pos: (checkpoint.checkpoint_id, write.idx, write.data) for write in checkpoint.writes}
    return rows


async def test_every_copy_reads_the_same_for_ever_and_is_a_prefix(storage, writers):
    copies: dict[str, tuple[str, dict]] = {}
    deadline = time.monotonic() + SECONDS
    for number in itertools.count():
        if time.monotonic() > deadline:
            break
        source, target = THREADS[number % len(THREADS)], f"copy-{number}"
        if await storage.write(lambda tx, source=source, target=target: tx.lineage.copy(source, target)):
            copies[target] = source, await shown(storage, target)
    for process in writers:
        process.stdin.close()
    assert [process.wait(60) for process in writers] == [0] * PROCESSES

    final = {thread: await shown(storage, thread) for thread in THREADS}
    assert len(copies) > 20
    for target, (source, at_first) in copies.items():
        assert await shown(storage, target) == at_first
        newest = max(at_first)
        assert at_first == {pos: row for pos, row in final[source].items() if pos <= newest}
