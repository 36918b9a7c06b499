"""A long conversation costs what it says, not its square: rows and bytes grow by the same amount every turn"""

from pathlib import Path

import pytest

from tests.in_process import serving
from tests.storages import KINDS, rows_of

pytestmark = pytest.mark.anyio

APP = Path(__file__).parents[1] / "apps" / "chat" / "langgraph.json"

MOST_TIMES_THE_STATE = 25

RESUMABLE = {"stream_resumable": True, "stream_mode": ["values", "debug"]}

TABLE_SIZES = "SELECT sum(pgsize) FROM dbstat"
TABLES = ("checkpoints", "writes", "blobs", "states", "runs", "outcomes", "run_spans", "events", "event_values")
EVENT_SIZES = """
SELECT (SELECT coalesce(sum(length(data)), 0) FROM event_values) + (SELECT coalesce(sum(length(data)), 0) FROM events)
"""


class Chat:
    """A conversation of one thread."""

    def __init__(self, server, client):
        self.server, self.client = server, client
        self.turns = 0
        self.outputs = {}

    async def begin(self):
        self.thread = f"/threads/{(await self.client.post('/threads', json={})).json()['thread_id']}"

    async def grow(self, turns, *, resumable=False):
        while self.turns < turns:
            self.turns += 1
            message = {"role": "user", "content": f"{self.turns} " + "y" * 200}
            body = {"assistant_id": "chat", "input": {"messages": [message]}}
            if resumable:
                response = await self.client.post(f"{self.thread}/runs/stream", json=body | RESUMABLE)
                self.outputs[response.headers["content-location"]] = response.raise_for_status().text
                continue
            response = await self.client.post(f"{self.thread}/runs/wait", json=body)
            self.outputs[response.headers["content-location"]] = response.raise_for_status().json()

    def rows(self):
        storage = self.server.storage
        return sum(rows_of(storage, f"SELECT count(*) FROM {table}")[0][0] for table in TABLES)

    async def storage(self):
        return (await self.client.get(f"{self.thread}/storage")).json()


@pytest.fixture(params=KINDS)
def where(request):
    """What the environment says of the database."""
    return {} if request.param == "sqlite" else {"DATABASE_URI": request.getfixturevalue("database")}


async def test_a_turn_costs_the_same_whenever_it_is(where, tmp_path):
    turns = (50, 100, 200) if where else (100, 200, 400)
    async with serving(APP, where, tmp_path) as (server, client, _):
        chat = Chat(server, client)
        await chat.begin()
        rows, stored = [], []
        for count in turns:
            await chat.grow(count)
            rows.append(chat.rows())
            stored.append((await chat.storage())["stored_bytes"])
        first, last = turns[1] - turns[0], turns[2] - turns[1]
        for figures in (rows, stored):
            early, late = (figures[1] - figures[0]) / first, (figures[2] - figures[1]) / last
            assert late <= early * 1.2, figures
        state = len((await client.get(f"{chat.thread}/state")).content)
        usage = await chat.storage()
        assert usage["stored_bytes"] < usage["total_bytes"] / 10
        assert usage["stored_bytes"] <= MOST_TIMES_THE_STATE * state
        if not where:  # the tables of PostgreSQL also hold what autovacuum has not freed yet
            [[size]] = rows_of(server.storage, TABLE_SIZES)
            assert size <= MOST_TIMES_THE_STATE * state


async def test_a_turn_of_a_resumable_chat_costs_the_same_whenever_it_is(where, tmp_path):
    turns = (25, 50, 100)
    async with serving(APP, where, tmp_path) as (server, client, _):
        chat = Chat(server, client)
        await chat.begin()
        rows, stored = [], []
        for count in turns:
            await chat.grow(count, resumable=True)
            rows.append(chat.rows())
            stored.append(int(rows_of(server.storage, EVENT_SIZES)[0][0]))
        for figures in (rows, stored):
            early, late = (figures[1] - figures[0]) / 25, (figures[2] - figures[1]) / 50
            assert late <= early * 1.2, figures
    async with serving(APP, where, tmp_path) as (_, client, _):  # another process remembers nothing
        for location, streamed in list(chat.outputs.items())[::10]:
            headers = {"last-event-id": "-1"}
            again = await client.get(f"{location}/stream", params={"stream_mode": ["values", "debug"]}, headers=headers)
            assert again.text == streamed.partition("\r\n\r\n")[2]  # without the event that tells of the request


async def test_what_came_of_a_run_is_read_from_its_checkpoint(where, tmp_path):
    async with serving(APP, where, tmp_path) as (server, client, _):
        chat = Chat(server, client)
        await chat.begin()
        await chat.grow(20)
    async with serving(APP, where, tmp_path) as (server, client, _):  # another process remembers nothing
        for location, output in chat.outputs.items():
            assert (await client.get(f"{location}/join")).json() == output
        chat.server, chat.client = server, client
        await chat.grow(22)
        history = (await client.post(f"{chat.thread}/history", json={"limit": 1000})).json()
        told = {len(state["values"].get("messages", [])): state["values"] for state in history}
        assert all(told[len(output["messages"])] == output for output in chat.outputs.values())
        await client.post("/threads/prune", json={"thread_ids": [chat.thread[9:]], "strategy": "keep_latest"})
        state = (await client.get(f"{chat.thread}/state")).json()["values"]
        assert state == list(chat.outputs.values())[-1]
    async with serving(APP, where, tmp_path) as (_, client, _):
        assert (await client.get(f"{list(chat.outputs)[15]}/join")).json() == state
