"""What A2A refuses, and how: JSON-RPC errors that name what is at fault, and nothing half-made."""

from pathlib import Path

import pytest

from tests.server import running
from threadloom.ids import default_assistant_id

pytestmark = pytest.mark.anyio

APP = Path(__file__).parent.parent / "apps" / "agents"


@pytest.fixture(scope="module")
def url(tmp_path_factory):
    with running(APP, tmp_path_factory.mktemp("a2a") / "data") as server:
        yield server.url


async def rpc(http, graph, method, params, **headers):
    body = {"jsonrpc": "2.0", "id": 1, "method": method, "params": params}
    answer = await http.post(f"/a2a/{default_assistant_id(graph)}", json=body, headers=headers)
    assert answer.status_code == 200, answer.text
    return answer.json()


@pytest.mark.parametrize(
    ("method", "params", "code", "named"),
    [
        ("tasks/get", {}, -32602, "id"),
        ("tasks/get", {"id": 5}, -32602, "id"),
        ("tasks/get", {"id": "x", "contextId": "y"}, -32602, "contextId"),
        ("tasks/get", {"id": "x", "historyLength": -1}, -32602, "historyLength"),
        ("tasks/get", {"id": "x", "historyLength": "1"}, -32602, "historyLength"),
        ("ListTasks", {"pageSize": 0}, -32602, "pageSize"),
        ("ListTasks", {"pageSize": 101}, -32602, "pageSize"),
        ("ListTasks", {"pageToken": "x"}, -32602, "pageToken"),
        ("ListTasks", {"status": "done"}, -32602, "status"),
        ("ListTasks", {"contextId": "x"}, -32602, "contextId"),
        ("ListTasks", {"statusTimestampAfter": "soon"}, -32602, "statusTimestampAfter"),
        ("tasks/list", {}, -32601, "tasks/list"),
        ("tasks/pushNotificationConfig/set", {}, -32601, "pushNotificationConfig"),
        ("message/send", [], -32602, "params"),
        ("message/send", {"message": {"messageId": "m", "parts": "x"}}, -32602, "parts"),
        ("message/send", {"message": {"messageId": 5, "parts": [{"text": "x"}]}}, -32602, "messageId"),
        ("message/send", {"message": {"messageId": "m", "parts": [5]}}, -32602, "parts[0]"),
        ("message/send", {"message": {"messageId": "m", "parts": [{"kind": "text"}]}}, -32602, "text"),
        ("message/send", {"message": {"messageId": "m", "parts": [{"kind": "data", "data": [1]}]}}, -32602, "data"),
        ("message/send", {"message": {"messageId": "m", "parts": [{"kind": "file", "file": {}}]}}, -32602, "file"),
        ("message/send", {"message": {"messageId": "m", "parts": [{}]}}, -32005, "parts[0]"),
        (
            "message/send",
            {"message": {"messageId": "m", "role": "judge", "parts": [{"text": "x"}]}},
            -32602,
            "role",
        ),
        (
            "message/send",
            {"message": {"messageId": "m", "contextId": "x", "parts": [{"text": "x"}]}},
            -32602,
            "contextId",
        ),
        (
            "message/send",
            {"message": {"messageId": "m", "taskId": "x", "parts": [{"text": "x"}]}},
            -32001,
            "x",
        ),
        (
            "message/send",
            {"message": {"messageId": "m", "parts": [{"text": "x"}]}, "configuration": 5},
            -32602,
            "configuration",
        ),
        (
            "message/send",
            {
                "message": {"messageId": "m", "parts": [{"text": "x"}]},
                "configuration": {"pushNotificationConfig": {"url": "https://example.com"}},
            },
            -32003,
            "Push",
        ),
        ("message/send", {"message": {"messageId": "m", "parts": [{"text": "x"}]}, "metadata": 5}, -32602, "metadata"),
    ],
)
async def test_what_does_not_fit_is_named(http, method, params, code, named):
    before = (await http.post("/threads/count", json={})).json()
    error = (await rpc(http, "chat", method, params))["error"]
    assert error["code"] == code
    assert named in error["message"]
    assert (await http.post("/threads/count", json={})).json() == before


async def test_a_header_that_does_not_fit_is_named(http):
    headers = {"LangGraph-A2A-History-Scope": "all", "A2A-Version": "9.9"}
    error = (await rpc(http, "chat", "tasks/get", {"id": "x"}, **headers))["error"]
    assert error["code"] == -32602 and "LangGraph-A2A-History-Scope" in error["message"]
