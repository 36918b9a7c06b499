"""The commands of the v2 protocol, over HTTP."""

import asyncio
import uuid
from pathlib import Path

import pytest

from tests.wire.protocol_client import command, data, ended, events, phase_of, run_to_end, start

pytestmark = pytest.mark.anyio

APP = Path(__file__).parent.parent / "apps" / "protocol"


@pytest.fixture(scope="module")
def url(protocol_url):
    return protocol_url


async def values(http, thread):
    return (await http.get(f"/threads/{thread}/state")).json()["values"]


async def asked(http, graph, input=None):
    """A thread that waits, and the ids of its questions by their values."""
    thread, seen = await run_to_end(http, graph, input or {})
    return thread, {str(one["value"]): one["interrupt_id"] for one in data(seen, "input.requested", root=False)}, seen


async def finalized(http, thread, seen):
    async with events(http, thread, since=seen[-1]["seq"]) as stream:
        return await stream.until(ended)


# --- run.start ---


async def test_a_started_run_is_a_run_like_any_other(http):
    thread = str(uuid.uuid4())
    run_id = await start(http, thread, "steps", {"n": 1}, metadata={"m": 1})
    assert (await http.get(f"/threads/{thread}/runs/{run_id}/join")).json()["steps"] == ["count 1"]
    run = (await http.get(f"/threads/{thread}/runs/{run_id}")).json()
    assert (run["status"], run["multitask_strategy"], run["metadata"]["m"]) == ("success", "enqueue", 1)
    configurable = run["kwargs"]["config"]["configurable"]
    assert "__event_streaming_v2" not in configurable and "__event_streaming_v2" not in run["kwargs"]["context"]
    assert [one["run_id"] for one in (await http.get(f"/threads/{thread}/runs")).json()] == [run_id]


async def test_a_command_tells_how_far_the_thread_had_come(http):
    thread, seen = await run_to_end(http, "steps", {"n": 1})
    answer = await command(http, thread, "run.start", {"assistant_id": "steps", "input": {"n": 2}})
    assert answer["meta"] == {"applied_through_seq": seen[-1]["seq"]}
    async with events(http, thread, since=seen[-1]["seq"]) as stream:
        assert phase_of((await stream.until(ended))[0]) == "running"


async def test_without_input_a_run_goes_on_from_where_the_thread_is(http):
    thread, _, seen = await asked(http, "asking", {"n": 1})
    await start(http, thread, "asking")
    assert phase_of((await finalized(http, thread, seen))[-1]) == "interrupted"


async def test_a_fork_on_a_waiting_thread_starts_anew(http):
    thread, _, seen = await asked(http, "asking", {"n": 1})
    first = data(seen, "checkpoints")[-1]["id"]
    place = {"configurable": {"checkpoint_id": first}}
    await start(http, thread, "asking", {"n": 2}, config=place)
    again = await finalized(http, thread, seen)
    assert phase_of(again[-1]) == "interrupted"
    assert data(again, "values")[-1]["n"] == 2


async def test_several_questions_take_one_input_by_their_ids(http):
    thread, ids, seen = await asked(http, "asking_two")
    await start(http, thread, "asking_two", {ids["left?"]: "L", ids["right?"]: "R"})
    await finalized(http, thread, seen)
    assert (await values(http, thread))["answers"] == {"left": "L", "right": "R"}


@pytest.mark.parametrize("strategy", ["interrupt", "rollback"])
async def test_a_strategy_stops_the_run_before(http, strategy):
    thread = str(uuid.uuid4())
    await start(http, thread, "slow", {"n": 100})
    async with events(http, thread) as stream:
        await stream.until(lambda event: event["method"] == "updates")
        await start(http, thread, "steps", {"n": 1}, multitaskStrategy=strategy)
        await stream.until(lambda event: phase_of(event) == "interrupted")
        await stream.until(lambda event: phase_of(event) == "completed")
    ticks = (await values(http, thread))["steps"].count("tick")
    assert ticks == 0 if strategy == "rollback" else ticks >= 1


async def test_reject_refuses_and_makes_no_run(http):
    thread = str(uuid.uuid4())
    first = await start(http, thread, "slow", {"n": 100})
    params = {"assistant_id": "steps", "input": {}, "multitaskStrategy": "reject"}
    answer = await command(http, thread, "run.start", params)
    assert (answer["type"], answer["error"]) == ("error", "invalid_argument")
    assert [run["run_id"] for run in (await http.get(f"/threads/{thread}/runs")).json()] == [first]


async def test_another_word_for_a_strategy_means_to_wait(http):
    thread = str(uuid.uuid4())
    run = await start(http, thread, "steps", {}, multitaskStrategy="nope", config=7)
    assert (await http.get(f"/threads/{thread}/runs/{run}")).json()["multitask_strategy"] == "enqueue"


@pytest.mark.parametrize(
    ("params", "error"),
    [
        ({"assistant_id": "nope"}, "invalid_argument"),
        ({"assistant_id": ""}, "invalid_argument"),
        ({"assistant_id": None}, "invalid_argument"),
        ({"assistant_id": str(uuid.uuid4())}, "invalid_argument"),
        ({"assistant_id": "steps", "config": {"tags": 5}}, "invalid_argument"),
        ({"assistant_id": "steps", "config": {"configurable": {"checkpoint_id": 5}}}, "invalid_argument"),
        (
            {"assistant_id": "steps", "config": {"configurable": {"checkpoint_id": str(uuid.uuid4())}}},
            "invalid_argument",
        ),
        ({"assistant_id": "steps", "metadata": []}, "unknown_error"),
        ([], "invalid_argument"),
        ("text", "invalid_argument"),
    ],
)
async def test_a_refused_start_leaves_nothing(http, params, error):
    thread = str(uuid.uuid4())
    answer = await http.post(f"/threads/{thread}/commands", json={"id": 1, "method": "run.start", "params": params})
    assert (answer.status_code, answer.json()["error"]) == (200, error)
    assert (await http.get(f"/threads/{thread}")).status_code == 404


# --- input.respond ---


async def test_a_question_is_answered_as_soon_as_it_is_asked(http):
    """The Python SDK and headless tools answer before the run that asked is settled."""
    for _ in range(5):
        thread = str(uuid.uuid4())
        async with events(http, thread) as stream:
            await start(http, thread, "asking", {"n": 1})
            await stream.until(lambda event: event["method"] == "input.requested")
            (question,) = data(stream.seen, "input.requested")
            params = {"interrupt_id": question["interrupt_id"], "response": "quick"}
            assert (await command(http, thread, "input.respond", params))["type"] == "success"
            await stream.until(lambda event: phase_of(event) == "completed")
        assert (await values(http, thread))["answers"] == {"ask": "quick"}


async def test_an_answer_is_taken_once_even_before_it_is_worked_on(http):
    thread, ids, _ = await asked(http, "asking_two")
    params = {"interrupt_id": ids["left?"], "response": "L"}
    answers = await asyncio.gather(*(command(http, thread, "input.respond", params) for _ in range(5)))
    assert sorted(answer["type"] for answer in answers) == ["error"] * 4 + ["success"]
    assert {answer["error"] for answer in answers if answer["type"] == "error"} == {"no_such_interrupt"}


async def test_questions_are_answered_one_after_the_other_too(http):
    thread, ids, seen = await asked(http, "asking_two")
    for name in ("left", "right"):
        params = {"interrupt_id": ids[f"{name}?"], "response": name}
        assert (await command(http, thread, "input.respond", params))["type"] == "success"
    async with events(http, thread, ["lifecycle"], since=seen[-1]["seq"]) as stream:
        await stream.until(lambda event: phase_of(event) == "completed")
    assert (await values(http, thread))["answers"] == {"left": "left", "right": "right"}


async def test_of_two_answers_in_a_batch_the_last_counts_and_an_unknown_one_stops_all(http):
    thread, ids, seen = await asked(http, "asking")
    (question,) = ids.values()
    unknown = [{"interrupt_id": question, "response": "x"}, {"interrupt_id": "nope", "response": "x"}]
    answer = await command(http, thread, "input.respond", {"responses": unknown})
    assert answer["error"] == "no_such_interrupt" and "nope" in answer["message"]
    twice = [{"interrupt_id": question, "response": text, "namespace": []} for text in ("first", "last")]
    assert (await command(http, thread, "input.respond", {"responses": twice}))["result"] == {}
    await finalized(http, thread, seen)
    assert (await values(http, thread))["answers"] == {"ask": "last"}


async def test_an_answer_may_go_elsewhere_and_bring_metadata(http):
    thread, ids, seen = await asked(http, "asking", {"n": 5})
    params = {
        "interrupt_id": ids.popitem()[1],
        "response": None,
        "goto": [{"node": "count", "input": {"n": 7}}],
        "metadata": {"from": "test"},
        "config": {"tags": ["t"]},
    }
    assert (await command(http, thread, "input.respond", params))["type"] == "success"
    await finalized(http, thread, seen)
    assert "count 7" in (await values(http, thread))["steps"]
    run = (await http.get(f"/threads/{thread}/runs")).json()[0]
    assert run["metadata"]["from"] == "test" and run["kwargs"]["config"]["tags"] == ["t"]


@pytest.mark.parametrize(
    ("more", "error"),
    [
        ({"interrupt_id": 5}, "invalid_argument"),
        ({"responses": "x"}, "invalid_argument"),
        ({"responses": [5]}, "invalid_argument"),
        ({"responses": [{"response": 1}]}, "invalid_argument"),
        ({"namespace": "x"}, "invalid_argument"),
        ({"update": 5}, "invalid_argument"),
        ({"goto": 5}, "invalid_argument"),
        ({"goto": [{"input": 1}]}, "invalid_argument"),
    ],
)
async def test_a_malformed_answer_resumes_nothing(http, more, error):
    thread, ids, _ = await asked(http, "asking")
    params = {"interrupt_id": ids.popitem()[1], "response": 1, **more}
    assert (await command(http, thread, "input.respond", params))["error"] == error
    assert len((await http.get(f"/threads/{thread}/runs")).json()) == 1


async def test_a_thread_that_is_not_there_has_no_run_to_answer(http):
    answer = await command(http, str(uuid.uuid4()), "input.respond", {"interrupt_id": "x", "response": 1})
    assert answer["error"] == "no_such_run"


# --- looking ---


async def test_the_tree_of_a_run(http):
    thread, _ = await run_to_end(http, "nested_ask", {})
    tree = (await command(http, thread, "agent.getTree"))["result"]["tree"]
    assert (tree["namespace"], tree["status"], tree["graph_name"]) == ([], "interrupted", "nested_ask")
    (middle,) = tree["children"]
    (child,) = middle["children"]
    assert [middle["graph_name"], child["graph_name"], child["status"]] == ["middle", "child", "interrupted"]
    assert child["namespace"][0] == middle["namespace"][0]
    runs = (await http.get(f"/threads/{thread}/runs")).json()
    same = await command(http, thread, "agent.getTree", {"run_id": runs[0]["run_id"]})
    assert same["result"]["tree"] == tree
    assert (await command(http, thread, "agent.getTree", {"run_id": str(uuid.uuid4())}))["error"] == "no_such_run"
    assert (await command(http, thread, "agent.getTree", {"run_id": 5}))["error"] == "invalid_argument"


async def test_the_state_and_its_checkpoint(http):
    thread, seen = await run_to_end(http, "steps", {"n": 1})
    got = (await command(http, thread, "state.get"))["result"]
    assert got["values"] == await values(http, thread)
    assert got["checkpoint"] == {"id": data(seen, "checkpoints")[-1]["id"], "ns": ""}
    some = await command(http, thread, "state.get", {"keys": ["n", "nope"]})
    assert some["result"]["values"] == {"n": 1}
    assert (await command(http, thread, "state.get", {"keys": "n"}))["error"] == "invalid_argument"
    assert (await command(http, str(uuid.uuid4()), "state.get"))["error"] == "no_such_run"


async def test_the_state_of_a_waiting_subgraph(http):
    thread, _, seen = await asked(http, "nested_ask")
    (question,) = [event for event in seen if event["method"] == "input.requested"]
    got = await command(http, thread, "state.get", {"namespace": question["params"]["namespace"]})
    assert got["result"]["checkpoint"]["ns"] == "|".join(question["params"]["namespace"])
    assert (await command(http, thread, "state.get", {"namespace": ["nope:1"]}))["error"] == "no_such_namespace"


@pytest.mark.parametrize("method", ["state.listCheckpoints", "state.fork", "input.inject", "", "__init__"])
async def test_other_commands_are_unknown(http, method):
    assert (await command(http, str(uuid.uuid4()), method))["error"] == "unknown_command"


async def test_subscriptions_need_a_web_socket(http):
    thread = str(uuid.uuid4())
    answer = await command(http, thread, "subscription.subscribe", {"channels": ["values"]})
    assert answer["result"]["replayed_events"] == 0 and answer["result"]["subscription_id"]
    params = {"subscription_id": answer["result"]["subscription_id"]}
    assert (await command(http, thread, "subscription.unsubscribe", params))["error"] == "no_such_subscription"
    assert (await command(http, thread, "subscription.reconnect", {"channels": ["values"]}))["error"] == "no_such_run"


@pytest.mark.parametrize("body", ["{", "", "nope", '{"id":1,"method":"x"', "NaN"])
async def test_what_is_not_json_is_told_so(http, body):
    headers = {"content-type": "application/json"}
    response = await http.post(f"/threads/{uuid.uuid4()}/commands", content=body, headers=headers)
    assert (response.status_code, response.json()) == (400, {"detail": "Invalid JSON body"})
