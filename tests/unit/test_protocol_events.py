"""From what a graph streams to the events of channels: order, subgraphs, messages."""

import asyncio
from types import SimpleNamespace

import pytest
from langchain_core.messages import AIMessage

from threadloom.engine.protocol_events import Channels
from threadloom.graphs.transformers import StreamPart, own_transformers

CHILD = ("child:1",)
DEEP = ("child:1", "deep:2")


class Told:
    """Takes what channels tell."""

    def __init__(self):
        self.events = []
        self.channels = Channels(lambda *event: self.events.append(event))

    def take(self, method, namespace=(), data=None, interrupts=()):
        self.channels.take(StreamPart(method, namespace, data, interrupts))

    @property
    def short(self):
        """Each event as method (or the phase of a lifecycle) and namespace."""
        return [
            (data["event"] if method == "lifecycle" else method, tuple(namespace))
            for method, namespace, data, _ in self.events
        ]


@pytest.fixture
def told():
    return Told()


def checkpoint(id_, parent=None):
    parent_config = {"configurable": {"checkpoint_id": parent}} if parent else None
    config = {"configurable": {"checkpoint_id": id_}}
    return {"config": config, "parent_config": parent_config, "metadata": {"step": 1, "source": "loop", "secret": 1}}


def begun(id_, name="n", **more):
    return {"id": id_, "name": name, "input": {}, "triggers": (), **more}


def done(id_, name="n", error=None, interrupts=()):
    return {"id": id_, "name": name, "error": error, "result": {}, "interrupts": list(interrupts)}


def test_values_wait_for_the_checkpoint_that_holds_them(told):
    told.take("values", data={"n": 1})
    assert told.events == []
    told.take("checkpoints", data=checkpoint("b", "a"))
    assert told.short == [("checkpoints", ()), ("values", ())]
    assert told.events[0][2] == {"id": "b", "previous_id": "a", "superstep": 1, "source": "loop"}


def test_a_checkpoint_of_the_root_names_where_its_turn_began(told):
    told.channels.turn = "b"
    for id_, parent in (("b", "a"), ("c", "b"), ("d", "c")):
        told.take("checkpoints", data=checkpoint(id_, parent))
    assert [event[2]["parent_id"] for event in told.events] == ["a", "b", "b"]


def test_a_checkpoint_of_a_subgraph_names_its_parent(told):
    told.channels.turn = "b"
    told.take("tasks", CHILD, begun("x"))
    told.take("checkpoints", CHILD, checkpoint("d", "c"))
    assert told.events[-1][2] == {"id": "d", "parent_id": "c", "step": 1, "source": "loop"}


def test_values_without_a_checkpoint_do_not_wait_for_one_elsewhere(told):
    told.take("tasks", CHILD, begun("x"))
    told.take("values", data={})
    told.take("checkpoints", CHILD, checkpoint("c"))
    assert told.short[2:] == [("values", ()), ("checkpoints", CHILD)]


def test_the_last_values_are_told_at_the_end(told):
    told.take("values", data={"n": 1})
    told.channels.finish(None)
    assert told.short == [("values", ())]


def test_a_subgraph_starts_before_its_first_values(told):
    told.take("values", CHILD, {})
    told.take("checkpoints", CHILD, checkpoint("c"))
    told.take("tasks", CHILD, begun("x"))
    assert told.short == [("started", CHILD), ("checkpoints", CHILD), ("values", CHILD), ("tasks", CHILD)]


def test_a_subgraph_without_tasks_starts_and_ends_with_the_run(told):
    told.take("values", CHILD, {})
    told.channels.finish(None)
    assert told.short == [("started", CHILD), ("values", CHILD), ("completed", CHILD)]


@pytest.mark.parametrize(
    ("result", "phase"),
    [
        (done("1"), "completed"),
        (done("1", error=ValueError("broken")), "failed"),
        (done("1", interrupts=[{"id": "i"}]), "interrupted"),
    ],
)
def test_a_subgraph_ends_with_its_task_and_so_does_what_is_below(told, result, phase):
    for namespace in (CHILD, DEEP):
        told.take("tasks", namespace, begun("x"))
    told.take("tasks", (), done("other"))
    told.take("tasks", (), result)
    assert told.short[-2:] == [(phase, DEEP), (phase, CHILD)]
    assert told.events[-1][2].get("error") == ("broken" if phase == "failed" else None)


@pytest.mark.parametrize(("error", "phase"), [(ValueError("no"), "failed"), (asyncio.CancelledError(), "interrupted")])
def test_what_is_open_when_the_run_breaks_off_is_ended(told, error, phase):
    told.take("tasks", CHILD, begun("x"))
    told.channels.finish(error)
    assert told.short[-1] == (phase, CHILD)


def test_an_agent_has_its_own_name_and_the_tool_call_that_caused_it(told):
    told.take("tasks", (), begun("1", "tools", input={"tool_call": {"id": "call_1"}}))
    told.take("tasks", CHILD, begun("x", metadata={"lc_agent_name": "researcher", "api_key": "secret"}))
    data = told.events[1][2]
    assert (data["graph_name"], data["cause"]) == ("researcher", {"type": "toolCall", "tool_call_id": "call_1"})
    assert "secret" not in str(told.events)


def test_a_list_of_tool_calls_names_the_first(told):
    told.take("tasks", (), begun("1", "tools", input=[{"id": "call_2"}, {"id": "call_3"}]))
    told.take("tasks", CHILD, begun("x", metadata={"lc_agent_name": "a"}))
    assert told.events[1][2]["cause"]["tool_call_id"] == "call_2"


def test_a_plain_subgraph_has_no_cause(told):
    told.take("tasks", (), begun("1", "tools", input={"tool_call": {"id": "call_1"}}))
    told.take("tasks", CHILD, begun("x"))
    assert "cause" not in told.events[1][2]


def question(id_="i", value="v"):
    return SimpleNamespace(id=id_, value=value)


def test_a_question_is_told_after_the_values_it_came_with_and_once(told):
    told.take("updates", CHILD, {"__interrupt__": (question(),)})
    told.take("values", CHILD, {}, (question(),))
    told.take("updates", (), {"__interrupt__": (question(),)})
    told.take("values", (), {}, (question(),))
    asked = [event for event in told.events if event[0] == "input.requested"]
    assert [(tuple(namespace), data) for _, namespace, data, _ in asked] == [
        (CHILD, {"interrupt_id": "i", "namespace": list(CHILD), "payload": "v", "value": "v"})
    ]
    assert told.short.index(("input.requested", CHILD)) == told.short.index(("values", CHILD)) + 1


def test_a_question_without_values_is_told_at_the_end(told):
    told.take("updates", (), {"__interrupt__": (question(),)})
    assert told.events == []
    told.channels.finish(None)
    assert told.short == [("input.requested", ())]


def test_updates_leave_out_what_is_langgraphs_own(told):
    told.take("updates", (), {"a": {"x": 1}, "b": None, "__metadata__": {"cached": True}})
    assert [event[2] for event in told.events] == [{"node": "a", "values": {"x": 1}}, {"node": "b", "values": None}]


@pytest.mark.parametrize(
    ("written", "shown"),
    [
        ({"payload": 1}, {"payload": 1}),
        ({"name": "n", "payload": None}, {"name": "n", "payload": None}),
        ({"name": "n", "step": 1}, {"name": "n", "step": 1}),
        ({"name": 1}, {"payload": {"name": 1}}),
        ("text", {"payload": "text"}),
        (None, {"payload": None}),
    ],
)
def test_custom_data_has_a_payload_or_a_name(told, written, shown):
    told.take("custom", (), written)
    assert told.events[0][2] == shown


def test_a_transformers_channel_is_a_custom_event_of_its_name(told):
    told.take("custom:progress", (), {"payload": 1})
    assert told.events[0][:3] == ("custom", (), {"name": "progress", "payload": {"payload": 1}})


def of_model(event, run="1", **more):
    return ({"event": event, **more}, {"langgraph_node": "chat", "run_id": run, "ls_model_type": "chat"})


def test_tool_messages_are_not_told_as_messages(told):
    for data in (of_model("message-start", role="tool", id="t"), of_model("message-finish")):
        told.take("messages", (), data)
    assert told.events == []


def test_events_name_their_message_where_several_are_told_at_once(told):
    for run in "12":
        told.take("messages", (), of_model("message-start", run, role="ai", id=f"m{run}"))
    told.take("messages", (), of_model("message-finish", "1"))
    told.take("messages", (), of_model("message-finish", "2"))
    assert [event[2].get("id") for event in told.events] == ["m1", "m2", "m1", None]


def test_a_whole_message_of_a_model_is_told_block_by_block(told):
    usage = {"input_tokens": 1, "output_tokens": 2, "total_tokens": 3}
    call = {"name": "add", "args": {"a": 1}, "id": "c", "type": "tool_call"}
    message = AIMessage("hi", id="m", tool_calls=[call], usage_metadata=usage)
    told.take("messages", (), (message, {"langgraph_node": "chat", "ls_model_type": "chat"}))
    shown = [(event[2]["event"], event[2].get("index")) for event in told.events]
    assert shown == [
        ("message-start", None),
        ("content-block-start", 0),
        ("content-block-delta", 0),
        ("content-block-finish", 0),
        ("content-block-start", 1),
        ("content-block-finish", 1),
        ("message-finish", None),
    ]
    assert told.events[5][2]["content"]["name"] == "add"
    assert told.events[-1][2]["usage"] == usage


def test_a_message_that_a_node_returns_is_not_told(told):
    told.take("messages", (), (AIMessage("hi", id="m"), {"langgraph_node": "plan"}))
    assert told.events == []


def test_transformers_of_a_file_are_classes_in_a_list():
    assert own_transformers(SimpleNamespace()) == []
    assert own_transformers(SimpleNamespace(stream_transformers=lambda: [dict])) == [dict]
    for wrong in (lambda: dict, lambda: [5], 5):
        with pytest.raises(TypeError, match="stream_transformers"):
            own_transformers(SimpleNamespace(stream_transformers=wrong))
