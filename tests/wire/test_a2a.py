"""A2A over HTTP with the official client, in both dialects: messages, streams, tasks, cards."""

import asyncio
import contextlib
import itertools
import json
import uuid
from pathlib import Path

import httpx
import pytest
from a2a.client import A2ACardResolver, ClientConfig, ClientFactory
from a2a.types import (
    CancelTaskRequest,
    GetExtendedAgentCardRequest,
    GetTaskRequest,
    ListTasksRequest,
    Message,
    Part,
    Role,
    SendMessageRequest,
    SubscribeToTaskRequest,
    TaskState,
)
from a2a.utils.errors import TaskNotCancelableError, TaskNotFoundError, UnsupportedOperationError
from google.protobuf.json_format import MessageToDict

from tests.server import running
from threadloom.ids import default_assistant_id

pytestmark = pytest.mark.anyio

APP = Path(__file__).parent.parent / "apps" / "agents"
COMPLETED, CANCELED = TaskState.TASK_STATE_COMPLETED, TaskState.TASK_STATE_CANCELED
WORKING, FAILED = TaskState.TASK_STATE_WORKING, TaskState.TASK_STATE_FAILED
INPUT, SUBMITTED = TaskState.TASK_STATE_INPUT_REQUIRED, TaskState.TASK_STATE_SUBMITTED


@pytest.fixture(scope="module")
def url(tmp_path_factory):
    with running(APP, tmp_path_factory.mktemp("a2a") / "data") as server:
        yield server.url


@pytest.fixture(params=["1.0", "0.3"])
def connect(request, url):
    """Gives a client of a graph's agent, that speaks one of the dialects."""

    @contextlib.asynccontextmanager
    async def open(graph, dialect=request.param, **config):
        async with httpx.AsyncClient(timeout=30) as http:
            card = await A2ACardResolver(http, f"{url}/a2a/{default_assistant_id(graph)}").get_agent_card()
            card.supported_interfaces[0].protocol_version = dialect
            yield ClientFactory(ClientConfig(httpx_client=http, **config)).create(card)

    open.dialect = request.param
    return open


def message(*parts, **more):
    shown = [Part(text=part) if isinstance(part, str) else part for part in parts]
    return Message(role=Role.ROLE_USER, message_id=str(uuid.uuid4()), parts=shown, **more)


def data(**values):
    part = Part()
    part.data.struct_value.update(values)
    return part


async def events(client, *parts, configuration=None, **more):
    request = SendMessageRequest(message=message(*parts, **more), configuration=configuration)
    return [event async for event in client.send_message(request)]


async def sent(connect, graph, *parts, **more):
    """The task that a message becomes, without streaming."""
    async with connect(graph, streaming=False) as client:
        (event,) = await events(client, *parts, **more)
        return event.task


async def test_the_card_names_an_endpoint_that_works(connect):
    async with connect("chat") as client:
        card = await client.get_extended_agent_card(GetExtendedAgentCardRequest()) if connect.dialect == "1.0" else None
        assert card is None or (card.name, card.description) == ("chat", "Echoes what it is told.")
        assert (await events(client, "hi"))[-1].status_update.status.state == COMPLETED


async def test_a_message_is_answered(connect):
    task = await sent(connect, "chat", "hi you")
    assert task.status.state == COMPLETED
    assert [part.text for part in task.artifacts[0].parts] == ["echo: hi you"]
    assert [(m.role, m.parts[0].text) for m in task.history] == [
        (Role.ROLE_USER, "hi you"),
        (Role.ROLE_AGENT, "echo: hi you"),
    ]


async def test_a_stream_grows_to_the_answer(connect):
    async with connect("chat") as client:
        seen = await events(client, "one two three")
    assert seen[0].task.status.state == SUBMITTED
    assert [m.parts[0].text for m in seen[0].task.history] == ["one two three"]
    working = [e.status_update.status for e in seen if e.status_update.status.state == WORKING]
    texts = [status.message.parts[0].text for status in working]
    assert len(texts) > 1 and texts[-1] == "echo: one two three"
    assert all(later.startswith(earlier) for earlier, later in itertools.pairwise(texts))
    assert seen[-2].artifact_update.artifact.parts[0].text == "echo: one two three"
    assert seen[-2].artifact_update.last_chunk
    assert seen[-1].status_update.status.state == COMPLETED
    ids = {e.task.id or e.status_update.task_id or e.artifact_update.task_id for e in seen}
    assert ids == {seen[0].task.id}


async def test_the_stream_and_the_task_agree_on_ids(connect):
    async with connect("chat") as client:
        seen = await events(client, "hi")
        task = await client.get_task(GetTaskRequest(id=seen[0].task.id))
    assert task.artifacts[0] == seen[-2].artifact_update.artifact
    assert task.history[-1].message_id == seen[1].status_update.status.message.message_id
    assert task.status.message.parts[0].text == "Task completed successfully"


async def test_a_context_goes_on_and_tells_which_task_said_what(connect, http):
    first = await sent(connect, "chat", "one")
    second = await sent(connect, "chat", "two", context_id=first.context_id)
    assert [m.parts[0].text for m in second.history] == ["one", "echo: one", "two", "echo: two"]
    assert [m.task_id for m in second.history] == [first.id, first.id, second.id, second.id]
    async with connect("chat") as client:
        short = await client.get_task(GetTaskRequest(id=second.id, history_length=1))
        assert [m.parts[0].text for m in short.history] == ["echo: two"]
        assert not (await client.get_task(GetTaskRequest(id=second.id, history_length=0))).history
    single_process = await rpc(http, "chat", "GetTask", {"id": second.id}, **{"LangGraph-A2A-History-Scope": "task"})
    assert [m["parts"][0]["text"] for m in single_process["result"]["history"]] == ["two", "echo: two"]


async def test_data_go_in_and_out(connect):
    task = await sent(connect, "count", data(n=4))
    assert MessageToDict(task.artifacts[0].parts[0].data) == {"total": 5}
    async with connect("count") as client:
        seen = await events(client, data(n=4))
    assert MessageToDict(seen[-2].artifact_update.artifact.parts[0].data) == {"total": 5}


async def test_files_are_content_of_the_message(connect):
    picture = Part(raw=b"bits", media_type="image/png")
    paper = Part(url="https://example.com/a.pdf", media_type="application/pdf", filename="a.pdf")
    task = await sent(connect, "see", "look", picture, paper)
    seen = task.artifacts[0].parts[0].text
    for expected in ("'text': 'look'", "'base64': 'Yml0cw=='", "'type': 'image'", "'url': 'https://example.com/a.pdf'"):
        assert expected in seen
    assert (task.artifacts[0].parts[1].url, task.artifacts[0].parts[1].media_type) == (
        "https://example.com/a.png",
        "image/png",
    )
    assert [part.raw for part in task.history[0].parts][1] == b"bits"
    assert [part.filename for part in task.history[0].parts][2] == "a.pdf"


async def test_a_question_is_answered_in_the_same_task(connect):
    async with connect("ask") as client:
        asked = await events(client, "weather?")
        assert [e.status_update.status.state for e in asked[-1:]] == [INPUT]
        assert asked[-1].status_update.status.message.parts[0].text == "which city?"
        question = MessageToDict(asked[-2].artifact_update.artifact.parts[0].data)
        assert question["value"] == "which city?"
        task_id, context_id = asked[0].task.id, asked[0].task.context_id
        assert (await client.get_task(GetTaskRequest(id=task_id))).status.state == INPUT
        told = await events(client, "Paris", context_id=context_id, task_id=task_id)
        assert told[0].task.id == task_id
        assert told[-2].artifact_update.artifact.parts[0].text == "weather in Paris"
        task = await client.get_task(GetTaskRequest(id=task_id))
    assert task.status.state == COMPLETED
    assert [m.parts[0].text for m in task.history] == ["weather?", "weather in Paris"]
    assert {m.task_id for m in task.history} == {task_id}


async def test_without_its_id_the_waiting_task_is_answered_too(connect):
    asked = await sent(connect, "ask", "weather?")
    told = await sent(connect, "ask", "Rome", context_id=asked.context_id)
    assert (told.id, told.status.state) == (asked.id, COMPLETED)
    after = await sent(connect, "ask", "again?", context_id=asked.context_id)
    assert after.id != asked.id and after.status.state == INPUT


async def test_several_questions_are_answered_by_their_ids(connect):
    asked = await sent(connect, "ask_two", data(answers={}))
    assert asked.status.state == INPUT
    ids = {q["value"]["side"]: q["id"] for q in (MessageToDict(p.data) for p in asked.artifacts[0].parts)}
    with pytest.raises(Exception, match="Several questions wait"):
        await sent(connect, "ask_two", "yes", context_id=asked.context_id)
    half = await sent(connect, "ask_two", data(**{ids["left"]: "L"}), context_id=asked.context_id)
    assert (half.id, half.status.state) == (asked.id, INPUT)
    whole = await sent(connect, "ask_two", "R", context_id=asked.context_id, task_id=asked.id)
    assert whole.status.state == COMPLETED
    answers = MessageToDict(whole.artifacts[0].parts[0].data)["answers"]
    assert answers == {"left": "L", "right": "R"}


async def test_failures_are_told(connect):
    task = await sent(connect, "fail", "x")
    assert task.status.state == FAILED
    assert task.status.message.parts[0].text == "Error executing assistant: ValueError"
    async with connect("fail") as client:
        last = (await events(client, "x"))[-1].status_update
    assert (last.status.state, last.status.message.parts[0].text) == (FAILED, "planned failure")


async def let_go(http, task):
    """Lets the run of a task of `held` come to its end."""
    item = {"namespace": ["go"], "key": task.context_id, "value": {}}
    (await http.put("/store/items", json=item)).raise_for_status()


async def test_a_client_may_come_back_for_the_task(connect, http):
    async with connect("held", polling=True, streaming=False) as client:
        (event,) = await events(client, data(n=7))
        task = event.task
        assert task.status.state in (SUBMITTED, WORKING)
        await let_go(http, task)
        async with asyncio.timeout(120):
            while task.status.state != COMPLETED:
                task = await client.get_task(GetTaskRequest(id=task.id))
        assert MessageToDict(task.artifacts[0].parts[0].data) == {"total": 7}


async def test_a_stream_can_be_joined(connect, http):
    async with connect("held", polling=True, streaming=False) as sender, connect("held") as client:
        (event,) = await events(sender, data(n=7))
        seen = []
        async for item in client.subscribe(SubscribeToTaskRequest(id=event.task.id)):
            if not seen:
                await let_go(http, event.task)
            seen.append(item)
        assert seen[0].task.id == event.task.id
        assert seen[-1].status_update.status.state == COMPLETED
        with pytest.raises(UnsupportedOperationError):
            async for _ in client.subscribe(SubscribeToTaskRequest(id=event.task.id)):
                pass


async def test_a_task_can_be_canceled_once(connect):
    async with connect("held", polling=True, streaming=False) as client:
        (event,) = await events(client, data(n=7))
        canceled = await client.cancel_task(CancelTaskRequest(id=event.task.id))
        assert canceled.status.state == CANCELED
        assert canceled.status.message.parts[0].text == "Task was canceled"
        with pytest.raises(TaskNotCancelableError):
            await client.cancel_task(CancelTaskRequest(id=event.task.id))
        assert (await client.get_task(GetTaskRequest(id=event.task.id))).status.state == CANCELED


async def test_a_stream_of_a_canceled_task_ends_as_canceled(connect):
    async with connect("held") as client:
        seen = []
        request = SendMessageRequest(message=message(data(n=7)))
        async for event in client.send_message(request):
            seen.append(event)
            if event.HasField("task"):
                await client.cancel_task(CancelTaskRequest(id=event.task.id))
    assert seen[-1].status_update.status.state == CANCELED


async def test_other_agents_tasks_are_not_found(connect):
    task = await sent(connect, "chat", "hi")
    async with connect("count") as client:
        for wanted in (task.id, f"{uuid.uuid4()}:{uuid.uuid4()}", "x", ":", task.id + ":"):
            with pytest.raises(TaskNotFoundError):
                await client.get_task(GetTaskRequest(id=wanted))
            with pytest.raises(TaskNotFoundError):
                await client.cancel_task(CancelTaskRequest(id=wanted))


async def rpc(http, graph, method, params, **headers):
    body = {"jsonrpc": "2.0", "id": 1, "method": method, "params": params}
    answer = await http.post(f"/a2a/{default_assistant_id(graph)}", json=body, headers=headers)
    assert answer.status_code == 200, answer.text
    return answer.json()


async def test_tasks_are_listed(http, url):
    assistant = (await http.post("/assistants", json={"graph_id": "ask"})).json()["assistant_id"]
    async with httpx.AsyncClient(timeout=30) as session:
        card = await A2ACardResolver(session, f"{url}/a2a/{assistant}").get_agent_card()
        client = ClientFactory(ClientConfig(httpx_client=session, streaming=False)).create(card)
        tasks = [(await events(client, f"q{n}"))[0].task for n in range(3)]
        done = (await events(client, "Oslo", context_id=tasks[0].context_id))[0].task
        page = await client.list_tasks(ListTasksRequest(page_size=2))
        assert [task.id for task in page.tasks] == [done.id, tasks[2].id]
        assert (page.total_size, page.page_size) == (3, 2)
        assert not page.tasks[0].artifacts and len(page.tasks[0].history) == 2
        rest = await client.list_tasks(ListTasksRequest(page_size=2, page_token=page.next_page_token))
        assert [task.id for task in rest.tasks] == [tasks[1].id]
        assert rest.next_page_token == ""
        waiting = await client.list_tasks(ListTasksRequest(status=INPUT, include_artifacts=True))
        assert [task.id for task in waiting.tasks] == [tasks[2].id, tasks[1].id]
        assert waiting.tasks[0].artifacts[0].name == "Interrupt"
        one = await client.list_tasks(ListTasksRequest(context_id=tasks[1].context_id))
        assert [task.id for task in one.tasks] == [tasks[1].id]
        nothing = await client.list_tasks(ListTasksRequest(context_id=str(uuid.uuid4())))
        assert (list(nothing.tasks), nothing.total_size) == ([], 0)
        since = ListTasksRequest()
        since.status_timestamp_after.FromJsonString("2999-01-01T00:00:00Z")
        assert (await client.list_tasks(since)).total_size == 0


async def test_behind_a_prefix_the_card_tells_the_whole_url(tmp_path):
    config = json.loads((APP / "langgraph.json").read_text()) | {"http": {"mount_prefix": "/agents"}}
    (tmp_path / "app").mkdir()
    (tmp_path / "app" / "graphs.py").write_text((APP / "graphs.py").read_text())
    (tmp_path / "app" / "langgraph.json").write_text(json.dumps(config))
    with running(tmp_path / "app", tmp_path / "data") as server:
        async with httpx.AsyncClient(timeout=30) as http:
            path = f"{server.url}/agents/a2a/{default_assistant_id('chat')}"
            card = await A2ACardResolver(http, path).get_agent_card()
            assert card.supported_interfaces[0].url == path
            client = ClientFactory(ClientConfig(httpx_client=http)).create(card)
            assert (await events(client, "hi"))[-1].status_update.status.state == COMPLETED


async def test_a_finished_task_takes_no_message(connect):
    task = await sent(connect, "chat", "hi")
    with pytest.raises(UnsupportedOperationError, match="takes no message"):
        await sent(connect, "chat", "more", task_id=task.id, context_id=task.context_id)


async def test_a_task_that_waits_for_an_answer_can_be_canceled(connect, http):
    asked = await sent(connect, "ask", "weather?")
    async with connect("ask") as client:
        task = await client.cancel_task(CancelTaskRequest(id=asked.id))
        assert (task.status.state, task.status.message.parts[0].text) == (CANCELED, "Task was canceled")
        assert (await client.get_task(GetTaskRequest(id=asked.id))).status.state == CANCELED
        with pytest.raises(TaskNotCancelableError):
            await client.cancel_task(CancelTaskRequest(id=asked.id))
    listed = (await rpc(http, "ask", "ListTasks", {"contextId": asked.context_id}))["result"]["tasks"]
    assert [one["status"]["state"] for one in listed] == ["TASK_STATE_CANCELED"]
    thread = (await http.get(f"/threads/{asked.context_id}")).json()
    assert (thread["status"], thread["interrupts"]) == ("idle", {})
    with pytest.raises(UnsupportedOperationError, match="takes no message"):
        await sent(connect, "ask", "Paris", task_id=asked.id, context_id=asked.context_id)
    after = await sent(connect, "ask", "again?", context_id=asked.context_id)
    assert after.id != asked.id and after.status.state == INPUT


async def test_metadata_of_a_message_are_those_of_its_run(http):
    params = {
        "message": {"role": "user", "messageId": "m1", "parts": [{"kind": "text", "text": "x"}]},
        "metadata": {"ticket": 7},
    }
    task = (await rpc(http, "chat", "message/send", params))["result"]
    thread, run = task["id"].split(":")
    assert (await http.get(f"/threads/{thread}/runs/{run}")).json()["metadata"]["ticket"] == 7
    messages = (await http.get(f"/threads/{thread}/state")).json()["values"]["messages"]
    assert messages[0]["id"] == "m1"


async def test_the_card_of_an_assistant_of_ones_own(http, url):
    made = (await http.post("/assistants", json={"graph_id": "count", "name": "mine"})).json()
    card = (await http.get(f"/a2a/{made['assistant_id'].upper()}")).json()
    assert (card["name"], card["description"]) == ("mine", "mine assistant")
    assert card["url"] == f"{url}/a2a/{made['assistant_id']}"
    shown = card["skills"][0]["metadata"]["inputSchema"]
    assert shown == {"required": ["n"], "properties": ["n"], "supportsA2A": False}
    assert (await http.get("/.well-known/agent.json")).status_code == 404
    assert (await http.get("/a2a/count")).status_code == 400
