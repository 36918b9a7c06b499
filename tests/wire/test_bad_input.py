"""Bad input is a 4xx that names what is wrong, and nothing is half-written: on every route of a real server."""

import re
from pathlib import Path
from typing import get_args, get_origin

import httpx
import msgspec
import pytest

from tests.server import running
from threadloom.api.docs import all_operations
from threadloom.api.openapi import names
from threadloom.ids import new_id

pytestmark = pytest.mark.anyio

APP = Path(__file__).parent.parent / "apps" / "records"
LIMIT = 11_000_000
BAD_JSON = {
    "empty": b"",
    "open": b"{",
    "trailing": b'{"a":1}{}',
    "nan": b'{"metadata":{"a":NaN}}',
    "beyond double": b'{"metadata":{"a":1e999}}',
    "surrogate": b'{"metadata":{"a":"\\ud800"}}',
    "no utf-8": b'{"metadata":{"a":"\xff"}}',
    "thousands of brackets": b"[" * 50_000,
    "deep": b'{"metadata":' + b'{"a":' * 201 + b"1" + b"}" * 202,
}
WITH_BODY = [operation for operation in all_operations() if operation.body is not None]


def shown(operation):
    return f"{operation.method} {operation.path}"


def path_of(operation):
    return re.sub(r"\{[^}]*\}", lambda _: new_id(), operation.path.replace("{name}", "kept"))


def struct_of(operation):
    return get_args(operation.body)[0] if get_origin(operation.body) is list else operation.body


def nullable(kind):
    if isinstance(kind, msgspec.inspect.Metadata):
        return nullable(kind.type)
    if isinstance(kind, msgspec.inspect.UnionType):
        return any(nullable(one) for one in kind.types)
    return isinstance(kind, msgspec.inspect.NoneType | msgspec.inspect.AnyType)


def fields():
    """Every field of every request body, with a body that has all other required ones."""
    for operation in WITH_BODY:
        info = msgspec.inspect.type_info(struct_of(operation))
        required = {field.name: example(field) for field in info.fields if field.required}
        for field in info.fields:
            yield pytest.param(operation, field, required, id=f"{shown(operation)} {field.name}")


def example(field):
    samples = {
        "thread_ids": [],
        "checkpoint": {},
        "version": 1,
        "namespace": ["a"],
        "value": {},
    }
    return samples.get(field.name, "x")


@pytest.fixture(scope="module")
def url(tmp_path_factory):
    data = tmp_path_factory.mktemp("bad") / "data"
    with running(APP, data, env={"HTTP_MAX_REQUEST_BODY_BYTES": str(LIMIT)}) as server:
        yield server.url


async def refused(http, operation, status=422, **request):
    answer = await http.request(operation.method, path_of(operation), **request)
    assert answer.status_code == status, answer.text
    return answer


@pytest.mark.parametrize("operation", WITH_BODY, ids=shown)
async def test_what_is_no_json_is_refused_everywhere(http, operation):
    for kind, body in BAD_JSON.items():
        if kind == "empty" and operation.body_optional:
            continue
        answer = await refused(http, operation, content=body)
        assert answer.json()["detail"].startswith("Invalid JSON in request body"), kind


@pytest.mark.parametrize("operation", WITH_BODY, ids=shown)
async def test_a_body_of_another_kind_is_refused_everywhere(http, operation):
    for body in ("text", 5, True, [[]], [5]):
        answer = await refused(http, operation, json=body)
        assert isinstance(answer.json()["detail"], str)


def bare(kind):
    """A type without what only describes it."""
    return bare(kind.type) if isinstance(kind, msgspec.inspect.Metadata) else kind


def takes_lists_of_anything(kind):
    kind = bare(kind)
    if isinstance(kind, msgspec.inspect.UnionType):
        return any(takes_lists_of_anything(one) for one in kind.types)
    return isinstance(kind, msgspec.inspect.ListType) and isinstance(bare(kind.item_type), msgspec.inspect.AnyType)


@pytest.mark.parametrize(("operation", "field", "required"), list(fields()))
async def test_every_field_refuses_what_it_does_not_take(http, operation, field, required):
    wrong = [] if nullable(field.type) else [None]
    if not isinstance(bare(field.type), msgspec.inspect.AnyType):
        wrong.append(5.5 if takes_lists_of_anything(field.type) else [[5.5]])
    for value in wrong:
        body = {**required, field.name: value}
        answer = await refused(http, operation, json=[body] if get_origin(operation.body) is list else body)
        assert field.name in answer.text


IDS = [one for one in all_operations() if names(one) and one.group not in ("a2a", "ui")]
"""Operations on things with an id; of graphs and files, any text is a name."""


@pytest.mark.parametrize("operation", IDS, ids=shown)
async def test_ids_that_are_no_uuids_are_refused_everywhere(http, operation):
    kinds = [name.removesuffix("_id") for name in names(operation) if name.endswith("_id") and name != "checkpoint_id"]
    path = re.sub(r"\{[^}]*\}", "no-uuid", operation.path)
    answer = await http.request(operation.method, path, json={})
    assert answer.status_code == 422
    assert answer.json()["detail"] in [f"Invalid {kind} ID: must be a UUID" for kind in kinds] or (
        kinds == ["assistant"] and "no-uuid" in answer.json()["detail"]
    )


def places(value):
    """Every way to name a checkpoint, with something that is no text in place of its id."""
    at, run, command = "/threads/{thread}", {"assistant_id": "echo", "input": {}}, {"assistant_id": "echo"}
    config = {"config": {"configurable": {"checkpoint_id": value}}}
    for path in ("/runs", "/runs/wait", "/runs/stream"):
        for named in ({"checkpoint_id": value}, {"checkpoint": {"checkpoint_id": value}}, config):
            yield at + path, run | named
    yield at + "/runs", run | {"config": {"configurable": {"checkpoint_map": {"checkpoint_id": value}}}}
    yield at + "/runs", run | {"checkpoint": {"checkpoint_map": {"checkpoint_id": value}}}
    yield "/runs", run | config
    yield "/runs/batch", [run | config]
    yield "/runs/crons", run | config | {"schedule": "0 0 1 1 *"}
    yield at + "/runs/crons", run | config | {"schedule": "0 0 1 1 *"}
    yield "/assistants", {"graph_id": "echo"} | config
    yield at + "/state", {"values": {}, "checkpoint_id": value}
    yield at + "/state", {"values": {}, "checkpoint": {"checkpoint_id": value}}
    yield at + "/state/checkpoint", {"checkpoint": {"checkpoint_id": value}}
    for before in ({"checkpoint_id": value}, {"configurable": {"checkpoint_id": value}}):
        yield at + "/history", {"before": before}
    yield at + "/history", {"checkpoint": {"checkpoint_id": value}}
    yield at + "/copy", {"checkpoint_id": value}
    yield at + "/commands", {"id": 1, "method": "run.start", "params": command | config}
    yield at + "/commands", {"id": 1, "method": "run.start", "params": command | {"input": {}} | config}


@pytest.mark.parametrize("value", [5, 0, 1.5, True, False, [], ["x"], {}, {"a": 1}], ids=str)
async def test_a_checkpoint_id_is_a_text_wherever_it_stands(http, value):
    thread = (await http.post("/threads", json={})).json()["thread_id"]
    for path, body in places(value):
        answer = await http.post(path.format(thread=thread), json=body)
        where = f"{path} {body}: {answer.status_code} {answer.text}"
        if path.endswith("/commands"):
            assert answer.json()["error"] == "invalid_argument", where
        else:
            assert answer.status_code == 422, where
        assert "checkpoint" in answer.text, where


@pytest.mark.parametrize("limit", [0, -1, -(2**63)])
async def test_a_recursion_limit_below_one_is_refused_everywhere(http, limit):
    config = {"config": {"recursion_limit": limit}}
    cron = (await http.post("/runs/crons", json={"assistant_id": "echo", "schedule": "0 0 1 1 *"})).json()["cron_id"]
    assistant = (await http.post("/assistants", json={"graph_id": "echo"})).json()["assistant_id"]
    for method, path, body in (
        ("POST", "/runs", {"assistant_id": "echo"}),
        ("POST", "/assistants", {"graph_id": "echo"}),
        ("PATCH", f"/assistants/{assistant}", {}),
        ("POST", "/runs/crons", {"assistant_id": "echo", "schedule": "0 0 1 1 *"}),
        ("PATCH", f"/runs/crons/{cron}", {}),
    ):
        answer = await http.request(method, path, json=body | config)
        assert (answer.status_code, "config.recursion_limit" in answer.text) == (422, True), answer.text


async def test_keys_by_which_the_server_and_langgraph_steer_themselves_are_taken_from_nobody(http):
    inner = {"__pregel_resuming": True, "__pregel_send": 1, "__pregel_checkpointer": {}, "mine": 1}
    inner |= {"__shown": True, "__run_unnamed": True, "__run_fence": 1, "__run_noted": {}, "__run_input_left": 1}
    said = {"config": {"configurable": inner}}
    run = {"assistant_id": "echo", "input": {}, "on_completion": "keep"}
    assistant = (await http.post("/assistants", json={"graph_id": "echo"} | said)).json()
    assert assistant["config"]["configurable"] == {"mine": 1}
    cron = (await http.post("/runs/crons", json={"assistant_id": "echo", "schedule": "0 0 1 1 *"} | said)).json()
    made = [
        cron["payload"],
        (await http.post("/runs", json=run | said)).json()["kwargs"],
        (await http.post("/runs", json=run | {"context": inner})).json()["kwargs"],
        (await http.post("/runs", json=run | {"assistant_id": assistant["assistant_id"]})).json()["kwargs"],
    ]
    thread = (await http.post("/threads", json={})).json()["thread_id"]
    start = {"id": 1, "method": "run.start", "params": {"assistant_id": "echo", "input": {}} | said}
    assert (await http.post(f"/threads/{thread}/commands", json=start)).json()["type"] == "success"
    made.append((await http.get(f"/threads/{thread}/runs")).json()[0]["kwargs"])
    for kwargs in made:
        configurable = kwargs["config"]["configurable"]
        assert configurable["mine"] == 1
        assert not inner.keys() & configurable.keys() - {"mine"}


async def test_an_assistant_says_nothing_of_where_its_runs_start(http):
    said = {"config": {"configurable": {"checkpoint_id": new_id(), "checkpoint_ns": "elsewhere:1"}}}
    assistant = (await http.post("/assistants", json={"graph_id": "echo"} | said)).json()["assistant_id"]
    answer = await http.post("/runs/wait", json={"assistant_id": assistant, "input": {}})
    assert answer.status_code == 200
    assert "__error__" not in answer.json()


async def test_a_body_over_the_limit_is_413_and_one_of_ten_megabytes_passes(http):
    async def parts():
        for _ in range(12):
            yield b" " * 1_000_000

    for content in (b" " * (LIMIT + 1), parts()):
        answer = await http.post("/threads", content=content)
        assert answer.status_code == 413
        assert str(LIMIT) in answer.json()["detail"]
    text = "x" * 10_000_000
    made = await http.post("/threads", json={"metadata": {"text": text}})
    assert made.status_code == 200
    assert made.json()["metadata"]["text"] == text


async def test_a_refused_request_writes_nothing(http):
    mark = new_id()
    steps = [{"updates": [{"values": {}, "as_node": "nowhere"}]}]
    bodies = [
        {"metadata": {"mark": mark}, "ttl": 5},
        {"metadata": {"mark": mark}, "thread_id": "x"},
        {"metadata": {"mark": mark, "graph_id": "echo"}, "supersteps": steps},
        {"metadata": {"mark": mark}, "supersteps": steps},
    ]
    for body in bodies:
        assert (await http.post("/threads", json=body)).status_code in (400, 422)
    assert (await http.post("/threads/count", json={"metadata": {"mark": mark}})).json() == 0


async def test_a_connection_is_usable_after_a_refusal(url):
    limits = httpx.Limits(max_connections=1)
    async with httpx.AsyncClient(base_url=url, limits=limits, timeout=30) as http:
        for body in BAD_JSON.values():
            assert (await http.post("/threads", content=body)).status_code == 422
            assert (await http.get("/ok")).status_code == 200
