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


SAID = {"role": "user", "messageId": "m", "parts": [{"text": "x"}]}
PUSH = {"url": "https://example.com"}


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
        ("message/send", {"message": SAID, "metadata": 5}, -32602, "metadata"),
        ("message/send", {"message": SAID, "configuration": 5}, -32602, "configuration"),
        ("message/send", {"message": SAID, "configuration": {"pushNotificationConfig": PUSH}}, -32003, "Push"),
    ],
)
async def test_what_does_not_fit_is_named(http, method, params, code, named):
    before = (await http.post("/threads/count", json={})).json()
    error = (await rpc(http, "chat", method, params))["error"]
    assert error["code"] == code
    assert named in error["message"]
    assert (await http.post("/threads/count", json={})).json() == before


@pytest.mark.parametrize("method", ["message/send", "message/stream", "SendMessage", "SendStreamingMessage"])
@pytest.mark.parametrize(
    ("odd", "code", "named"),
    [
        ({"parts": "x"}, -32602, "parts"),
        ({"messageId": 5}, -32602, "messageId"),
        ({"messageId": ""}, -32602, "messageId"),
        ({"role": None}, -32602, "role"),
        ({"role": "judge"}, -32602, "role"),
        ({"contextId": "x"}, -32602, "contextId"),
        ({"contextId": 5}, -32602, "contextId"),
        ({"taskId": "x"}, -32001, "x"),
        ({"taskId": 5}, -32602, "taskId"),
        ({"parts": [5]}, -32005, "parts[0]"),
        ({"parts": [{}]}, -32005, "parts[0]"),
        ({"parts": [{"kind": "text"}]}, -32005, "text"),
        ({"parts": [{"kind": "data", "data": [1]}]}, -32005, "data"),
        ({"parts": [{"kind": "file", "file": {}}]}, -32005, "file"),
    ],
)
async def test_what_does_not_fit_in_a_message_is_named(http, method, odd, code, named):
    before = (await http.post("/threads/count", json={})).json()
    error = (await rpc(http, "chat", method, {"message": SAID | odd}, Accept="*/*"))["error"]
    assert error["code"] == code
    assert named in error["message"]
    assert (await http.post("/threads/count", json={})).json() == before


async def test_a_header_that_does_not_fit_is_named(http):
    headers = {"LangGraph-A2A-History-Scope": "all", "A2A-Version": "9.9"}
    error = (await rpc(http, "chat", "tasks/get", {"id": "x"}, **headers))["error"]
    assert error["code"] == -32602 and "LangGraph-A2A-History-Scope" in error["message"]
