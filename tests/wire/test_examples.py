"""Every example starts, and does what its first lines say."""

import subprocess
import sys
import time
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import httpx
import pytest

from tests.server import Server
from threadloom.config import load

EXAMPLES = Path(__file__).parents[2] / "examples"
APPS = sorted(file.parent.name for file in EXAMPLES.glob("*/langgraph.json"))


@pytest.fixture(scope="module")
def urls(tmp_path_factory):
    """Name of each example -> where it is served. They are started side by side."""
    folder = tmp_path_factory.mktemp("examples")
    servers = {name: Server(EXAMPLES / name, folder / name) for name in APPS}
    try:
        with ThreadPoolExecutor(len(APPS)) as pool:
            list(pool.map(Server.start, servers.values()))
        yield {name: server.url for name, server in servers.items()}
    finally:
        for server in servers.values():
            if server.process is not None:
                server.kill()


@pytest.fixture
def client(urls, request):
    """A client of the example that the test's name begins with."""
    name = request.node.originalname.removeprefix("test_").partition("_")[0]
    with httpx.Client(base_url=urls[name], timeout=30) as http:
        yield http


def wait(client: httpx.Client, graph: str, given: dict[str, object], **more: object) -> dict[str, object]:
    body = {"assistant_id": graph, "input": given, **more}
    answer: dict[str, object] = client.post("/runs/wait", json=body).raise_for_status().json()
    return answer


def test_all_are_listed():
    table = (EXAMPLES / "README.md").read_text()
    folders = sorted(file.name for file in EXAMPLES.iterdir() if file.is_dir())
    assert [name for name in folders if f"| `{name}` |" not in table] == []


@pytest.mark.parametrize("name", APPS)
def test_each_is_configured_without_a_warning(urls, name):
    assert load(EXAMPLES / name / "langgraph.json", {}).warnings == ()
    assert httpx.get(f"{urls[name]}/ok").json()["ok"] is True


def test_plain_writes_a_poem(client):
    poem = wait(client, "haiku", {"topic": "rain"})
    assert poem["lines"][1] == "Into it falls rain"
    assert len(poem["syllables"]) == 3


def test_tools_calls_the_tool(client):
    said = wait(client, "weather", {"messages": [{"role": "user", "content": "Weather in Paris?"}]})
    assert [message["type"] for message in said["messages"]] == ["human", "ai", "tool", "ai"]
    assert said["messages"][-1]["content"] == "The temperature is 21 degrees celsius."


def test_factory_makes_what_the_run_asks_for(client):
    config = {"configurable": {"languages": ["fr", "de"]}}
    assert wait(client, "translator", {"text": "hello"}, config=config) == {
        "text": "hello",
        "fr": "bonjour",
        "de": "hallo",
    }
    assert wait(client, "translator", {"text": "hello"}) == {"text": "hello", "fr": "bonjour"}
    assert wait(client, "archive", {"text": "kept"})["kept"] == "kept"
    assert client.get("/assistants/archive/schemas").json()["graph_id"] == "archive"


def test_routes_call_the_server_and_share_its_store(client):
    assert client.get("/hello/Ada").text == "Hello, Ada!"
    assert client.get("/hello/Grace").text == "Hello, Grace!"
    assert client.get("/guests").json() == ["Ada", "Grace"]
    assert client.get("/uptime").json()["seconds"] > 0
    assert client.get("/info").headers["x-served-by"] == "example"


def test_memory_finds_what_is_near(client):
    for note in ("The keys hang by the door.", "Ada was born in London.", "Bread needs flour, water and salt."):
        wait(client, "notes", {"note": note})
    assert wait(client, "notes", {"question": "Where are my keys?"})["answer"] == "The keys hang by the door."
    assert wait(client, "notes", {"question": "Where was Ada born?"})["answer"] == "Ada was born in London."
    body = {"namespace_prefix": ["notes"], "query": "what bread needs", "limit": 1}
    found = client.post("/store/items/search", json=body).json()["items"]
    assert found[0]["value"]["text"].startswith("Bread")


def test_cron_runs_by_its_schedule(client, urls):
    made = subprocess.run(
        [sys.executable, str(EXAMPLES / "cron" / "schedule.py"), "* * * * * *"],
        env={"LANGGRAPH_URL": urls["cron"]},
        capture_output=True,
        text=True,
        timeout=60,
        check=True,
    )
    cron_id, thread_id = made.stdout.split()
    deadline = time.monotonic() + 30
    written: list[str] = []
    while len(written) < 2 and time.monotonic() < deadline:
        time.sleep(0.2)
        written = (client.get(f"/threads/{thread_id}/state").json()["values"] or {}).get("written", [])
    client.delete(f"/runs/crons/{cron_id}").raise_for_status()
    assert len(written) >= 2
    assert written[0].endswith("all is well with the world")


def test_chat_remembers(client):
    thread_id = client.post("/threads", json={}).json()["thread_id"]
    for text in ("one", "two"):
        body = {"assistant_id": "agent", "input": {"messages": [{"role": "user", "content": text}]}}
        said = client.post(f"/threads/{thread_id}/runs/wait", json=body).json()
    assert 'You said "two", and before that "one"' in said["messages"][-1]["content"]


def test_auth_keeps_everybody_to_his_own(client):
    def call(name, method, path, body=None):
        headers = {"Authorization": f"Bearer {name}"} if name else {}
        return client.request(method, path, json=body, headers=headers)

    assert call(None, "POST", "/threads", {}).status_code == 401
    thread = call("ann", "POST", "/threads", {}).json()["thread_id"]
    run = {"assistant_id": "diary", "input": {"entry": "Rain."}}
    assert call("ann", "POST", f"/threads/{thread}/runs/wait", run).json()["pages"] == ["ann: Rain."]
    assert call("bob", "GET", f"/threads/{thread}").status_code == 404
    assert call("bob", "POST", "/threads/search", {}).json() == []
    copy = call("eve", "POST", f"/threads/{thread}/copy").json()
    assert copy["metadata"]["owner"] == "eve"
    assert call("ann", "GET", f"/threads/{copy['thread_id']}").status_code == 404
    item = {"namespace": ["notes"], "key": "k", "value": {"of": "ann"}}
    assert call("ann", "PUT", "/store/items", item).status_code == 204
    assert call("bob", "GET", "/store/items?namespace=notes&key=k").json() is None
    assert call("ann", "POST", "/assistants", {"graph_id": "diary"}).status_code == 403
    assert len(call("bob", "POST", "/assistants/search", {}).json()) == 1


def test_branching_search_keeps_the_best_and_prints_the_tree(urls):
    name = "branching_search"
    done = subprocess.run(
        [sys.executable, EXAMPLES / name / "search.py", "100"],
        env={"LANGGRAPH_URL": urls[name], "PATH": ""},
        capture_output=True,
        text=True,
        check=True,
    )
    *tree, solution = done.stdout.splitlines()
    assert solution == "1 +10 x7 +10 +10 +1 +1 +1 = 100"
    assert len(tree) == 1 + 8 * 7
    assert [line.strip() for line in tree if line.endswith("*")] == [
        "1 *",
        "11 *",
        "77 *",
        "87 *",
        "97 *",
        "98 *",
        "99 *",
        "100 *",
    ]
