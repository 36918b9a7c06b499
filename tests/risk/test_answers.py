"""An answer is used for the question that it was given to and for no other"""

import asyncio

import pytest
from langgraph.pregel.remote import RemoteGraph
from langgraph.types import Command

from tests.risk.asking import Thread, on_both, started

pytestmark = pytest.mark.anyio

UNKNOWN = "0" * 32

NOTHING = [
    {"input": None},
    {"command": {}},
    {"command": {"resume": {UNKNOWN: "stray"}}},
    {"command": {"resume": {UNKNOWN: "stray"}, "update": {"said": []}}},
]
"""Runs that bring no answer to anything that is asked."""

ONE_TWO_THREE = ["plain", "inner", "remembering", "deep", "called"]


@pytest.mark.parametrize("durability", ["async", "exit"])
@pytest.mark.parametrize("graph", ONE_TWO_THREE)
async def test_a_bare_answer_reaches_no_later_question(client, graph, durability):
    thread = await started(client, graph)
    assert await thread.asked() == ["one"]
    first = (await thread.questions())[0]["id"]
    await thread.resume("a", durability=durability)
    assert await thread.asked() == ["two"]
    for stray in [*NOTHING, {"command": {"resume": {first: "twice"}}}]:
        await thread.run(**stray, durability=durability)
        assert await thread.asked() == ["two"], stray
    await thread.resume(None, durability=durability)
    assert await thread.asked() == ["three"]
    for stray in [*NOTHING, {"command": {"resume": {first: "twice"}}}]:
        await thread.run(**stray, durability=durability)
        assert await thread.asked() == ["three"], stray
    await thread.resume({"c": 0}, durability=durability)
    if graph == "plain":
        assert await thread.asked() == ["later"]
        await thread.run(input=None)
        assert await thread.asked() == ["later"]
        await thread.resume(False)
    assert (await thread.said())[:3] == [["one", "a"], ["two", None], ["three", {"c": 0}]]
    done = await thread.said()
    await thread.resume("to nobody")
    assert (await thread.said(), await thread.asked()) == (done, [])


@on_both
async def test_a_loop_asks_each_round_anew(client):
    thread = await started(client, "loop", rounds=3)
    for number, answer in enumerate(["a", None, "c"]):
        assert await thread.asked() == [f"round {number}"]
        await thread.run(input=None)
        assert await thread.asked() == [f"round {number}"]
        await thread.resume(answer)
    assert await thread.said() == [["round 0", "a"], ["round 1", None], ["round 2", "c"]]
    assert await thread.asked() == []


async def test_a_graph_that_keeps_no_checkpoints_is_answered_once(client):
    """LangGraph gives its questions new ids each time; what is answered within it is asked again when it goes on."""
    thread = await started(client, "forgetting")
    await thread.run(input=None)
    assert await thread.asked() == ["one"]
    await thread.resume("a")
    assert (await thread.said(), await thread.asked()) == ([["one", "a"]], ["three"])
    for stray in NOTHING:
        await thread.run(**stray)
    assert await thread.asked() == ["three"]


async def test_an_answer_never_reaches_another_question_of_a_graph_that_keeps_no_checkpoints(client):
    """Such a graph begins anew and asks its first question first: an answer to a later one, or to one beside it, is refused."""
    thread = await started(client, "forgetting_two")
    await thread.resume("a")
    assert await thread.asked() == ["two"]
    refused = await thread.resume("for two")
    assert "keeps no checkpoints" in refused["__error__"]["message"]
    assert (await thread.said(), await thread.asked()) == ([], ["one"])
    thread = await started(client, "forgetting_pair")
    assert await thread.asked() == ["left", "right"]
    assert "keeps no checkpoints" in (await thread.answer("R", "right"))["__error__"]["message"]
    assert await thread.said() == []
    thread = await started(client, "forgetting")
    [question] = await thread.questions()
    refused = await thread.run(command={"resume": {question["id"]: "a"}, "goto": "later"})
    assert "keeps no checkpoints" in refused["__error__"]["message"]
    assert await thread.said() == []


@on_both
async def test_several_questions_are_answered_by_id_only(client):
    thread = await started(client, "pair")
    assert await thread.asked() == ["left", "right"]
    refused = await thread.resume("whose?")
    assert refused["__error__"]["error"] == "RuntimeError"
    assert "multiple pending interrupts" in refused["__error__"]["message"]
    assert await thread.asked() == ["left", "right"]
    strict = await thread.resume("whose?", strict_resume=True)
    assert strict["__error__"]["error"] == "UnknownInterruptError"
    first = {one["value"]: one["id"] for one in await thread.questions()}
    await thread.answer("L", "left")
    assert await thread.asked() == ["left again", "right"]
    # Of the one that was answered no other takes anything: not the next of its node, not its sibling.
    await thread.resume({first["left"]: "twice"})
    assert await thread.asked() == ["left again", "right"]
    strict = await thread.resume({first["left"]: "twice"}, strict_resume=True)
    assert strict["__error__"]["error"] == "UnknownInterruptError"
    assert await thread.asked() == ["left again", "right"]
    await thread.answer(None, "right")
    assert await thread.asked() == ["left again"]
    await thread.resume("now there is one")
    assert await thread.said() == [["left", "L"], ["left again", "now there is one"], ["right", None]]
    assert await thread.asked() == []


@pytest.mark.parametrize("graph", ["sends", "functional"])
async def test_tasks_that_ask(client, graph):
    thread = await started(client, graph)
    if graph == "sends":
        await thread.answer("A", "a")
        await thread.run(input=None)
        assert await thread.asked() == ["b"]
        await thread.resume("B")
        assert await thread.said() == [["a", "A"], ["b", "B"]]
    else:
        await thread.resume(None)
        await thread.run(input=None)
        assert await thread.asked() == ["two"]
        await thread.resume(2)
        assert await thread.said() == [["one", None], ["two", 2]]
    assert await thread.asked() == []


@on_both
async def test_tools_of_an_agent_that_ask(client):
    thread = await started(client, "agent")
    assert await thread.asked() == ["transfer 1", "transfer 2"]
    await thread.answer("no", "transfer 1")
    for stray in NOTHING[:3]:
        await thread.run(**stray)
        assert await thread.asked() == ["transfer 2"]
    await thread.resume("yes")
    for stray in NOTHING[:3]:
        await thread.run(**stray)
        assert await thread.asked() == ["transfer 3"]
    await thread.resume("never")
    messages = (await client.threads.get_state(thread.id))["values"]["messages"]
    assert [one["content"] for one in messages if one["type"] == "tool"] == ["1: no", "2: yes", "3: never"]


async def test_an_answer_that_is_given_twice_at_once_counts_once(client):
    """As by a double click: the second waits in the queue until the next question is asked."""
    for graph, following in (("plain", "two"), ("loop", "round 1")):
        for how in ({}, {"multitask_strategy": "interrupt"}):
            thread = await started(client, graph, rounds=3, pause=0.3)
            await asyncio.gather(*(thread.resume("yes", **how) for _ in range(3)))
            assert await thread.asked() == [following]
        thread = await started(client, graph, rounds=3, pause=0.3)
        at = {"checkpoint_id": (await client.threads.get_state(thread.id))["checkpoint"]["checkpoint_id"]}
        await asyncio.gather(*(thread.resume("yes", **at) for _ in range(3)))
        assert await thread.asked() == [following]
        assert len(await client.threads.get_history(thread.id)) == (2 if graph == "plain" else 3)


async def test_an_answer_may_wait_for_the_run_that_asks(client):
    """It answers what that run asks, and a second one answers nothing."""
    thread = Thread(client, "plain", (await client.threads.create())["thread_id"])
    await asyncio.gather(
        client.runs.create(thread.id, "plain", input={"said": []}),
        thread.resume("early", if_not_exists="create"),
        thread.resume("early", if_not_exists="create"),
    )
    await client.runs.join(thread.id, (await client.runs.list(thread.id))[0]["run_id"])
    assert await thread.asked() in (["one"], ["two"])


@on_both
async def test_an_answer_may_be_given_while_its_question_is_told(client):
    """A client that answers at the `__interrupt__` in the stream may be quicker than the end of the run that asks."""

    async def told(**how):
        async for event in client.runs.stream(thread.id, "loop", stream_mode="updates", **how):
            if event.event == "updates" and "__interrupt__" in event.data:
                return

    for _ in range(5):
        thread = await started(client, "loop", rounds=3)
        await told(command={"resume": "a"})
        await thread.resume("b")
        assert await thread.asked() == ["round 2"]
        await told(input={"said": []})
        await thread.resume("c")
        assert await thread.asked() == []


@on_both
@pytest.mark.parametrize("strategy", ["enqueue", "interrupt", "rollback"])
async def test_an_answer_is_not_for_what_a_newer_input_asks(client, strategy):
    """As from a second tab that still shows the question from before the input."""
    thread = await started(client, "resting", rounds=1, pause=0)
    await client.runs.create(thread.id, "resting", input={"rounds": 2, "pause": 0.5})
    while (await client.threads.get_state(thread.id))["next"] != ["rest"]:
        await asyncio.sleep(0.02)
    await thread.resume("yes to 1", multitask_strategy=strategy)
    answered = [one for one in await thread.said() if one != "rested"]
    assert answered == ([["1 rounds", "yes to 1"]] if strategy == "rollback" else [])
    assert await thread.asked() == (["2 rounds"] if strategy == "enqueue" else [])


@on_both
@pytest.mark.parametrize("graph", ["failing", "failing_inside"])
async def test_a_node_that_fails_once_it_was_answered_keeps_its_answer(client, graph):
    thread = Thread(client, graph, (await client.threads.create())["thread_id"])
    await thread.run(input={"said": [thread.id]})
    [asked] = await thread.questions()
    failed = await thread.resume("a")
    assert failed["__error__"]["message"] == "not this time"
    assert await thread.questions() == []
    whole = await client.threads.get_state(thread.id, subgraphs=True)
    assert [task["interrupts"] for task in whole["tasks"]] == [[]]
    assert [task["state"]["interrupts"] for task in whole["tasks"] if task["state"]] == [[]] * (graph != "failing")
    for again in ({asked["id"]: "b"}, {UNKNOWN: "b"}):
        await thread.resume(again)
        assert await thread.questions() == []
    refused = await thread.resume("b")
    assert refused["__error__"]["message"].startswith("No question is open")
    await thread.run(input=None)
    assert await thread.asked() == ["two"]
    await thread.resume({asked["id"]: "b"})
    assert await thread.asked() == ["two"]
    await thread.resume("c")
    assert (await thread.said())[-2:] == [["one", "a"], ["two", "c"]]


async def test_an_answer_does_not_pass_a_stop(client):
    thread = await started(client, "stop")
    refused = await thread.resume("go")
    assert refused["__error__"]["message"].startswith("No question is open")
    await thread.resume({UNKNOWN: "go"})
    assert (await client.threads.get_state(thread.id))["next"] == ["y"]
    await thread.run(input=None)
    assert await thread.asked() == ["after the stop"]
    await thread.resume("yes")
    assert await thread.said() == [["after the stop", "yes"]]


@on_both
async def test_sides_of_a_copy_are_answered_apart(client):
    thread = await started(client, "inner")
    copy = await thread.copy()
    await thread.resume("left")
    assert (await thread.asked(), await copy.asked()) == (["two"], ["one"])
    await copy.resume("right")
    late = await thread.copy()
    for stray in NOTHING[:3]:
        await copy.run(**stray)
        await late.run(**stray)
    assert (await copy.asked(), await late.asked()) == (["two"], ["two"])
    for side in (thread, copy, late):
        await side.resume(None)
        await side.resume("end")
    said = [[answer for _, answer in await side.said()] for side in (thread, copy, late)]
    assert said == [["left", None, "end"], ["right", None, "end"], ["left", None, "end"]]


@pytest.mark.parametrize("graph", ["plain", "inner", "called"])
@pytest.mark.parametrize("by_id", [False, True])
async def test_an_older_question_is_answered_anew_and_no_other_is(client, graph, by_id):
    thread = await started(client, graph)
    at = {"checkpoint_id": (await client.threads.get_state(thread.id))["checkpoint"]["checkpoint_id"]}
    [first] = await thread.questions()
    for answer in ("a", "b", "c", "d")[: 4 if graph == "plain" else 3]:
        await thread.resume(answer)
    assert await thread.asked() == []
    # By its id an earlier question of a node is only found where the node itself asked it.
    by_id = by_id and graph == "plain"
    await thread.resume({first["id"]: "new"} if by_id else "new", **at)
    assert await thread.asked() == ["two"]
    await thread.run(input=None)
    assert await thread.asked() == ["two"]
    await thread.resume(None)
    await thread.resume("z")
    assert (await thread.said())[:3] == [["one", "new"], ["two", None], ["three", "z"]]


@on_both
async def test_the_second_question_of_a_node_is_answered_anew_with_the_first_as_it_was(client):
    thread = await started(client, "plain")
    at = {"checkpoint_id": (await client.threads.get_state(thread.id))["checkpoint"]["checkpoint_id"]}
    await thread.resume("a")
    [second] = await thread.questions()
    for answer in ("b", "c", "d"):
        await thread.resume(answer)
    await thread.resume({second["id"]: "new"}, **at)
    assert await thread.asked() == ["three"]
    await thread.resume("z")
    assert (await thread.said())[:3] == [["one", "a"], ["two", "new"], ["three", "z"]]


async def test_a_question_that_was_left_behind_is_answered_on_its_own_branch(client):
    thread = await started(client, "plain")
    at = {"checkpoint_id": (await client.threads.get_state(thread.id))["checkpoint"]["checkpoint_id"]}
    await client.threads.update_state(thread.id, {"said": [["by hand", 0]]}, as_node="ask")
    await thread.run(input=None)
    assert await thread.asked() == ["later"]
    await thread.resume("a", **at)
    assert await thread.asked() == ["two"]


async def test_state_updates_bring_no_answer(client):
    thread = await started(client, "inner")
    update = {"updates": [{"command": {"resume": "yes"}, "as_node": "sub"}]}
    body = {"metadata": {"graph_id": "inner"}, "supersteps": [update]}
    assert (await client.http.client.post("/threads", json=body)).status_code == 400
    await client.threads.update_state(thread.id, {"said": []}, as_node="__copy__")
    await thread.run(input=None)
    assert await thread.asked() == ["one"]
    await client.threads.update_state(thread.id, {"said": []}, as_node="sub")
    await thread.run(input=None)
    assert await thread.asked() == ["three"]


@on_both
async def test_questions_stay_on_the_record_beside_a_goto(client):
    thread = await started(client, "pair")
    await thread.run(command={"goto": "aside"})
    assert await thread.asked() == ["aside", "left", "right"]
    assert "multiple" in (await thread.resume("whose?"))["__error__"]["message"]
    await thread.answer("A", "aside")
    assert await thread.asked() == ["left", "right"]
    copy = await thread.copy()
    assert await copy.asked() == ["left", "right"]
    done = await started(client, "loop", rounds=0)
    await done.resume("only")
    assert await done.asked() == []
    await done.run(command={"goto": "ask"})
    assert await done.asked() == ["round 1"]
    await done.resume("again")
    assert await done.said() == [["round 0", "only"], ["round 1", "again"]]


async def test_remote_graph(client, url):
    thread = await started(client, "inner")
    remote = RemoteGraph("inner", url=url)
    config = {"configurable": {"thread_id": thread.id}}
    [first] = (await remote.aget_state(config)).interrupts
    await remote.ainvoke(Command(resume="a"), config)
    await remote.ainvoke(None, config)
    await remote.ainvoke(Command(resume={first.id: "twice"}), config)
    assert await thread.asked() == ["two"]
    await remote.ainvoke(Command(resume="b"), config)
    assert await thread.asked() == ["three"]


async def test_v2_and_a2a(client, url):
    thread = await started(client, "inner")
    [first] = await thread.questions()

    async def command(method, **params):
        body = {"id": 1, "method": method, "params": params}
        done = (await client.http.client.post(f"/threads/{thread.id}/commands", json=body)).json()
        runs = await client.runs.list(thread.id, limit=1)
        await client.runs.join(thread.id, runs[0]["run_id"])
        return done

    await command("run.start", assistant_id="inner", input="a")
    assert await thread.asked() == ["two"]
    refused = await command("input.respond", interrupt_id=first["id"], response="twice")
    assert refused["error"] == "no_such_interrupt"
    assert await thread.asked() == ["two"]
    await command("input.respond", interrupt_id=(await thread.questions())[0]["id"], response=None)
    assert await thread.asked() == ["three"]
    [assistant] = await client.assistants.search(graph_id="inner")
    part = {"kind": "data", "data": {first["id"]: "twice"}}
    message = {"role": "user", "messageId": "m", "contextId": thread.id, "parts": [part]}
    body = {"jsonrpc": "2.0", "id": 1, "method": "message/send", "params": {"message": message}}
    await client.http.client.post(f"/a2a/{assistant['assistant_id']}", json=body)
    # The data name no open question, so they are the answer to the only one: that is who a message is for.
    assert await thread.said() == [["one", "a"], ["two", None], ["three", {first["id"]: "twice"}]]


async def test_a_question_that_a_run_is_answering_cannot_be_answered_by_id_meanwhile(client):
    thread = await started(client, "loop", rounds=2, pause=0.5)
    [question] = await thread.questions()
    run = await client.runs.create(thread.id, "loop", command={"resume": {"ok": True}})
    params = {"interrupt_id": question["id"], "response": "twice"}
    body = {"id": 1, "method": "input.respond", "params": params}
    refused = (await client.http.client.post(f"/threads/{thread.id}/commands", json=body)).json()
    assert refused["error"] == "no_such_interrupt"
    await client.runs.join(thread.id, run["run_id"])
    assert await thread.said() == [["round 0", {"ok": True}]]


@pytest.mark.parametrize("graph", ["inner", "deep"])
async def test_a_question_in_an_inner_state_that_was_written_to_still_stands(client, graph):
    """Its answer goes to the node that asked, and not to another that asks in its stead."""

    async def written(**how):
        thread = await started(client, graph)
        inner = await client.threads.get_state(thread.id, subgraphs=True)
        while "ask" not in inner["next"]:
            inner = inner["tasks"][0]["state"]
        await client.threads.update_state(thread.id, {"said": []}, checkpoint=inner["checkpoint"], **how)
        assert await thread.asked() == ["one"]
        return thread

    thread = await written(as_node="__copy__")
    await thread.resume("a")
    assert await thread.asked() == ["two"]
    thread = await written(as_node="ask")
    await thread.resume("a")
    assert await thread.asked() == ["three"]


async def test_an_older_checkpoint_without_a_question_takes_no_answer(client):
    thread = await started(client, "slow", pause=0)
    history = await client.threads.get_history(thread.id)
    for state in history:
        at = {"checkpoint_id": state["checkpoint"]["checkpoint_id"]}
        await thread.resume("stray", **at)
        await thread.resume({UNKNOWN: "stray"}, **at)
    assert await client.threads.get_history(thread.id) == history
    thread = await started(client, "pair")
    at = {"checkpoint_id": (await client.threads.get_state(thread.id))["checkpoint"]["checkpoint_id"]}
    [left] = [one["id"] for one in await thread.questions() if one["value"] == "left"]
    await thread.answer("R", "right")
    await thread.answer("L", "left")
    await thread.answer("again")
    assert "multiple" in (await thread.resume("whose?", **at))["__error__"]["message"]
    refused = await thread.resume({UNKNOWN: "stray"}, strict_resume=True, **at)
    assert refused["__error__"]["error"] == "UnknownInterruptError"
    assert await thread.asked() == []
    await thread.resume({left: "new"}, strict_resume=True, **at)
    assert await thread.asked() == ["left again", "right"]


async def test_a_question_within_a_subgraph_is_answered_anew_only_where_it_is_asked_again(client):
    """At an older checkpoint a subgraph begins anew, with its first question; an answer to its second one is not for that."""
    thread = await started(client, "inner")
    at = {"checkpoint_id": (await client.threads.get_state(thread.id))["checkpoint"]["checkpoint_id"]}
    [first] = await thread.questions()
    await thread.resume("a")
    [second] = await thread.questions()
    await thread.resume("b")
    await thread.resume({second["id"]: "for the second"}, **at)
    assert await thread.asked() == ["one"]
    await thread.resume("c")
    assert await thread.asked() == ["two"]
    await thread.resume({first["id"]: "twice"})
    assert await thread.asked() == ["two"]
