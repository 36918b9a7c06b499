"""The map of a thread, compared with what all its values say."""

import json

from tests.contract.turns_model import naive_turns


async def history_of(client, thread):
    """All states, oldest first."""
    found = []
    while page := await client.threads.get_history(
        thread, limit=100, before=found[-1]["checkpoint"] if found else None
    ):
        found += page
    return found[::-1]


def told(message):
    return message["id"], json.dumps([message["type"], message["content"], message.get("tool_calls") or []])


async def mapped(http, thread):
    answer = await http.get(f"/threads/{thread}/branches")
    assert answer.status_code == 200, answer.text
    return answer.json()


async def right(client, http, thread):
    """The map of a thread, compared with what all its values say."""
    found = await mapped(http, thread)
    states = await history_of(client, thread)
    rows = [
        (
            state["checkpoint"]["checkpoint_id"],
            (state["parent_checkpoint"] or {}).get("checkpoint_id"),
            [told(message) for message in state["values"].get("messages", [])],
        )
        for state in states
    ]
    expected, shown = naive_turns(rows)
    assert found["checkpoints"] == len(states)
    assert found["head"] == rows[-1][0]
    assert [(turn["message_id"], turn["parent"], turn["after"], turn["siblings"]) for turn in found["turns"]] == [
        (id_, before, after, siblings) for id_, _, before, after, siblings in expected
    ]
    assert {number for number, turn in enumerate(found["turns"]) if turn["active"]} == set(shown[-1])
    places = {state["checkpoint"]["checkpoint_id"] for state in states}
    assert all(turn["before"] is None or turn["before"] in places for turn in found["turns"])
    return found["turns"]
