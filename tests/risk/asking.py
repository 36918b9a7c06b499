"""Threads of graphs that ask, as tests see them."""

from pathlib import Path

import pytest

from tests.storages import KINDS

APP = Path(__file__).parents[1] / "apps" / "answers"
on_both = pytest.mark.parametrize("url", KINDS, indirect=True)


class Thread:
    """A thread of one graph, and what it asks."""

    def __init__(self, client, graph, thread_id):
        self.client, self.graph, self.id = client, graph, thread_id

    async def run(self, **how):
        body = {"assistant_id": self.graph, **how}
        answer = await self.client.http.client.post(f"/threads/{self.id}/runs/wait", json=body)
        return answer.raise_for_status().json()

    async def resume(self, answer, **how):
        return await self.run(command={"resume": answer}, **how)

    async def answer(self, value, question=None, **how):
        """Answers the question of this text, or the only one, by its id."""
        [found] = [one["id"] for one in await self.questions() if question in (None, one["value"])]
        return await self.resume({found: value}, **how)

    async def questions(self):
        """The open questions; record and state agree on them, and on the status."""
        record, state = await self.client.threads.get(self.id), await self.client.threads.get_state(self.id)
        of_record = [one for of_task in record["interrupts"].values() for one in of_task]
        assert sorted(of_record, key=str) == sorted(state["interrupts"], key=str)
        assert set(record["interrupts"]) == {task["id"] for task in state["tasks"] if task["interrupts"]}
        assert _without_ids(record["values"]) == _without_ids(state["values"])
        if record["status"] != "error":
            assert record["status"] == ("interrupted" if state["next"] else "idle")
        return of_record

    async def asked(self):
        return sorted(one["value"] for one in await self.questions())

    async def said(self):
        return (await self.client.threads.get_state(self.id))["values"].get("said", [])

    async def copy(self):
        return Thread(self.client, self.graph, (await self.client.threads.copy(self.id))["thread_id"])


def _without_ids(values):
    """Messages that a tool gives without an id get one whenever they are read, until their step is over."""
    return [{**one, "id": None} for one in values["messages"]] if values and "messages" in values else values


async def started(client, graph, **input_):
    thread = Thread(client, graph, (await client.threads.create())["thread_id"])
    await thread.run(input={"said": [], **input_} if graph != "agent" else {"messages": [("user", "go")]})
    return thread
