"""States and outputs that share what is stored are shown as if each stood by itself."""

import json

import pytest
from langchain_core.messages import HumanMessage

from tests.in_process import serving
from tests.storages import KINDS
from threadloom import codec
from threadloom.codec import to_json
from threadloom.engine import outputs

pytestmark = pytest.mark.anyio

GRAPHS = """
import operator
from dataclasses import dataclass, field
from typing import Annotated, TypedDict

from langgraph.graph import START, StateGraph
from langgraph.types import interrupt


def in_place(before, more):
    before.update(more)
    return before


class Plain(TypedDict, total=False):
    long: Annotated[list, operator.add]
    facts: Annotated[dict, in_place]
    note: str


@dataclass
class Made:
    long: Annotated[list, operator.add] = field(default_factory=list)
    facts: Annotated[dict, in_place] = field(default_factory=dict)
    note: str = ""

    def __post_init__(self):
        self.facts["made"] = self.facts.get("made", 0) + 1
        for item in self.long:
            item["seen"] += 1


def graph(schema, ask):
    found = StateGraph(schema)
    found.add_node("first", lambda _: {"long": [{"text": "x" * 6000, "seen": 0}], "facts": {"text": "y" * 2000}, "note": "1"})
    found.add_node("second", lambda _: {"note": "2"})
    found.add_node("third", lambda _: {"note": interrupt("go?") if ask else "3"})
    found.add_edge(START, "first").add_edge("first", "second").add_edge("second", "third")
    return found.compile()


plain, made = graph(Plain, True), graph(Made, False)
"""


@pytest.fixture
def app(tmp_path):
    (tmp_path / "graphs.py").write_text(GRAPHS)
    file = tmp_path / "langgraph.json"
    graphs = {"plain": "./graphs.py:plain", "made": "./graphs.py:made"}
    file.write_text(json.dumps({"graphs": graphs, "dependencies": ["."]}))
    return file


@pytest.fixture(params=KINDS)
def where(request):
    """What the environment says of the database."""
    return {} if request.param == "sqlite" else {"DATABASE_URI": request.getfixturevalue("database")}


async def test_a_state_of_a_history_and_an_output_are_no_others(app, where, tmp_path, monkeypatch):
    monkeypatch.setattr(outputs, "RECENT_BYTES", 0)  # as another process reads them
    async with serving(app, where, tmp_path / "data") as (_, client, _):

        async def ended(thread, body):
            response = await client.post(f"{thread}/runs/wait", json=body)
            return response.headers["content-location"], response.raise_for_status().json()

        async def shown_alike(thread):
            states = (await client.get(f"{thread}/history?limit=20")).json()
            for state in states:
                alone = (await client.get(f"{thread}/state/{state['checkpoint']['checkpoint_id']}")).json()
                assert state["values"] == alone["values"]
            return states

        made, plain = [f"/threads/{(await client.post('/threads', json={})).json()['thread_id']}" for _ in range(2)]
        await ended(made, {"assistant_id": "made", "input": {"note": "0"}})
        await shown_alike(made)

        update = {"facts": {"later": 1}, "note": "later"}
        runs = [
            await ended(plain, {"assistant_id": "plain", "input": {}}),
            await ended(plain, {"assistant_id": "plain", "command": {"resume": "yes", "update": update}}),
        ]
        states = await shown_alike(plain)
        assert [state["values"].get("note") for state in states] == ["yes", "later", "1", None, None]
        assert "later" in states[1]["values"]["facts"] and "later" not in states[2]["values"]["facts"]
        # What the second run wrote under the last checkpoint of the first is nothing that the first one gave.
        assert runs[0][1]["note"] == "2" and runs[0][1]["__interrupt__"]
        for path, output in runs:
            assert (await client.get(f"{path}/join")).json() == output


def test_the_questions_of_a_state_without_values_are_json():
    assert json.loads(outputs.whole_output(b'{"__interrupt__":[]}', b"{}")) == {"__interrupt__": []}


async def test_a_history_of_many_messages_holds_nobody_up():
    messages = {"messages": [HumanMessage("x", id=str(number)) for number in range(codec.MANY + 1)]}
    encoded = codec.EncodedMessages()
    assert encoded.are_many(messages) and not encoded.are_many({"messages": messages["messages"][1:], "note": "x"})
    assert json.loads(to_json(encoded.of(messages))) == json.loads(to_json(messages))


def test_an_output_that_is_told_again_is_counted_once():
    recent = outputs.RecentOutputs()
    half = b"x" * (outputs.RECENT_BYTES // 2 - outputs.ENTRY_BYTES)
    for run in ("one", "two", "two", "two"):
        recent.add(run, half)
    assert recent.get("one") == recent.get("two") == half
