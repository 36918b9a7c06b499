"""MCP over HTTP: a real server, the official client, and its types on what the server answers."""

import asyncio
import json
import uuid
from pathlib import Path

import httpx
import mcp_types
import pytest
from mcp import Client, MCPError

from tests.server import running

pytestmark = pytest.mark.anyio

APP = Path(__file__).parent.parent / "apps" / "agents"


@pytest.fixture(scope="module")
def url(tmp_path_factory):
    with running(APP, tmp_path_factory.mktemp("mcp") / "data") as server:
        yield server.url


async def rpc(http, method, params=None, **headers):
    body = {"jsonrpc": "2.0", "id": 1, "method": method, "params": params}
    answer = await http.post("/mcp", json=body, headers=headers)
    assert answer.status_code == 200, answer.text
    return answer.json()


async def listed(http, **params):
    return (await rpc(http, "tools/list", params))["result"]


@pytest.mark.parametrize("path", ["/mcp", "/mcp/"])
@pytest.mark.parametrize("mode", ["auto", "legacy"])
async def test_the_official_client_connects_lists_and_calls(url, path, mode):
    async with Client(url + path, mode=mode) as client:
        assert client.server_info.name == "Threadloom"
        tools = {tool.name: tool for tool in (await client.list_tools()).tools}
        assert {"chat", "count", "ask", "plain", "broken"} <= set(tools)
        assert tools["count"].description == "Adds one to n."
        assert tools["ask"].description == "Tool based on the ask assistant"
        result = await client.call_tool("count", {"n": 3})
        assert result.structured_content == {"total": 4}
        assert json.loads(result.content[0].text) == {"total": 4}
        assert not result.is_error
        failed = await client.call_tool("fail", {"messages": "x"})
        assert failed.is_error and failed.content[0].text == "ValueError"
        with pytest.raises(MCPError, match="Unknown tool: nobody"):
            await client.call_tool("nobody", {})


async def test_answers_are_what_the_official_types_take(http):
    versions = (await rpc(http, "initialize", {"protocolVersion": "2025-06-18"}))["result"]
    assert mcp_types.InitializeResult.model_validate(versions).capabilities.tools.list_changed is False
    for tool in mcp_types.ListToolsResult.model_validate(await listed(http)).tools:
        assert tool.input_schema["type"] == "object"
    called = (await rpc(http, "tools/call", {"name": "count", "arguments": {"n": 1}}))["result"]
    assert mcp_types.CallToolResult.model_validate(called).structured_content == {"total": 2}


async def test_messages_are_one_string_and_their_definitions_are_left_out(http):
    tools = {tool["name"]: tool for tool in (await listed(http))["tools"]}
    assert tools["chat"]["inputSchema"]["properties"]["messages"]["type"] == "string"
    assert "$defs" not in tools["chat"]["inputSchema"]


async def test_what_takes_no_object_or_cannot_be_told_is_listed_all_the_same(http):
    tools = {tool["name"]: tool for tool in (await listed(http))["tools"]}
    assert tools["plain"]["inputSchema"] == tools["broken"]["inputSchema"] == {"type": "object"}
    result = (await rpc(http, "tools/call", {"name": "broken"}))["result"]
    assert result["isError"] is True


async def test_a_call_leaves_no_thread(http):
    before = (await http.post("/threads/count", json={})).json()
    result = (await rpc(http, "tools/call", {"name": "ask", "arguments": {"messages": "weather?"}}))["result"]
    assert result["structuredContent"]["__interrupt__"][0]["value"] == "which city?"
    assert (await http.post("/threads/count", json={})).json() == before


async def test_of_two_assistants_with_one_name_the_newest_is_the_tool(client, http):
    name = f"twin {uuid.uuid4()}"
    await client.assistants.create("fail", name=name, description="older")
    await client.assistants.create("count", name=name, description="newer")
    found = [tool for tool in (await listed(http))["tools"] if tool["name"] == name]
    assert [tool["description"] for tool in found] == ["newer"]
    result = (await rpc(http, "tools/call", {"name": name, "arguments": {"n": 1}}))["result"]
    assert result["structuredContent"] == {"total": 2}


async def test_a_name_that_is_part_of_another_is_not_taken_for_it(client, http):
    await client.assistants.create("count", name="countess")
    answer = await rpc(http, "tools/call", {"name": "COUNT", "arguments": {"n": 1}})
    assert answer["error"]["code"] == -32602
    assert (await rpc(http, "tools/call", {"name": "count", "arguments": {"n": 1}}))["result"]["structuredContent"]


async def test_lists_have_pages(client, http):
    mark = uuid.uuid4().hex
    await asyncio.gather(*(client.assistants.create("count", name=f"{mark}-{n % 120}") for n in range(125)))
    seen, cursor = [], None
    while True:
        page = await listed(http, cursor=cursor)
        seen += [tool["name"] for tool in page["tools"]]
        cursor = page.get("nextCursor")
        if cursor is None:
            break
        assert isinstance(cursor, str)
    assert len([name for name in seen if name.startswith(mark)]) == 120
    assert len(seen) == len(set(seen))
    first = (await listed(http))["tools"]
    for cursor in ("garbage", "-1", True, [1], 1.5, "9" * 30):
        assert (await listed(http, cursor=cursor))["tools"] == first
    assert (await listed(http, cursor=100)) == (await listed(http, cursor="100"))
    assert (await listed(http, cursor=10**9)) == {"tools": []}


@pytest.mark.parametrize(
    ("params", "named"),
    [
        ({"name": "count", "arguments": [1]}, "arguments"),
        ({"name": "count", "arguments": "n"}, "arguments"),
        ({"arguments": {}}, "None"),
        ({"name": 5}, "5"),
        ([1], "params"),
        ("x", "params"),
    ],
)
async def test_parameters_of_the_wrong_shape_are_named(http, params, named):
    error = (await rpc(http, "tools/call", params))["error"]
    assert error["code"] == -32602
    assert named in error["message"]


@pytest.mark.parametrize(
    ("body", "status"),
    [
        (b'"text"', 400),
        (b"5", 400),
        (b"[{}]", 400),
        (b'{"jsonrpc":"2.0"}', 400),
        (b'{"jsonrpc":"2.0","id":true,"method":"ping"}', 400),
        (b'{"jsonrpc":"2.0","id":{},"method":"ping"}', 400),
        (b'{"jsonrpc":"2.0","id":1,"method":5}', 400),
        (b'{"jsonrpc":"2.0","id":1,"method":"ping"} x', 400),
        (b"[" * 100_000, 400),
        (b'{"jsonrpc":"2.0","id":null,"method":"tools/list"}', 202),
        (b'{"jsonrpc":"2.0","id":1,"error":{}}', 202),
        (b'{"jsonrpc":"2.0","id":1}', 202),
        (b'{"jsonrpc":"2.0","id":1.5,"method":"ping"}', 200),
    ],
)
async def test_every_message_has_its_status(http, body, status):
    answer = await http.post("/mcp", content=body)
    assert answer.status_code == status
    if status == 202:
        assert answer.content == b""
    elif status == 400:
        assert set(answer.json()) == {"error"}


async def test_what_a_client_accepts_is_looked_at(http):
    for header in ("text/html", "image/*, text/plain"):
        answer = await http.post("/mcp", json={}, headers={"Accept": header})
        assert answer.json() == {"error": "Accept header must include application/json or text/event-stream"}
    for header in ("*/*", "application/*;q=0.5", "text/html, TEXT/event-stream", ""):
        assert (await rpc(http, "ping", Accept=header))["result"] == {}


async def test_unfit_methods_have_no_body(http):
    for method, status in (("GET", 405), ("DELETE", 404)):
        answer = await http.request(method, "/mcp")
        assert (answer.status_code, answer.content) == (status, b"")
    assert (await http.put("/mcp", json={})).status_code == 405


async def test_it_can_be_switched_off(tmp_path):
    config = json.loads((APP / "langgraph.json").read_text())
    (tmp_path / "app").mkdir()
    (tmp_path / "app" / "graphs.py").write_text((APP / "graphs.py").read_text())
    off = {**config, "http": {"disable_mcp": True, "disable_a2a": True}}
    (tmp_path / "app" / "langgraph.json").write_text(json.dumps(off))
    with running(tmp_path / "app", tmp_path / "data") as server:
        async with httpx.AsyncClient(base_url=server.url) as http:
            for path in ("/mcp", "/mcp/", f"/a2a/{uuid.uuid4()}"):
                assert (await http.post(path, json={})).status_code == 404
            for path in ("/.well-known/agent-card.json", f"/a2a/{uuid.uuid4()}"):
                assert (await http.get(path)).status_code == 404
            paths = (await http.get("/openapi.json")).json()["paths"]
            assert not [path for path in paths if "mcp" in path or "a2a" in path]
