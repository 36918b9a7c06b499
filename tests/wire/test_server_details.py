"""`GET /server`: what the server is made of, without secrets."""

import json

import httpx
import pytest

from tests.server import running
from threadloom.process_reports import HIDDEN, without_secrets

SECRET = "whsec_" + "c2VjcmV0LTIz" * 4

GRAPH = """
from langgraph.graph import START, StateGraph

def fail(state):
    raise ValueError("no such order")

graph = StateGraph(dict).add_node(fail).add_edge(START, "fail").compile()
"""


def test_it_shows_configuration_storage_and_failures_without_secrets(tmp_path):
    app = tmp_path / "app"
    app.mkdir()
    (app / "orders.py").write_text(GRAPH)
    config = {
        "dependencies": ["."],
        "graphs": {"orders": "./orders.py:graph"},
        "env": {"OPENAI_API_KEY": "sk-secret-1", "N_JOBS_PER_WORKER": "7", "LANGGRAPH_AES_KEY": "k" * 32},
        "threadloom": {"webhook_secret": SECRET},
    }
    (app / "langgraph.json").write_text(json.dumps(config))
    with running(app, tmp_path / "data") as server:
        before = httpx.get(server.url + "/server").json()
        run = {"assistant_id": "orders", "input": {}}
        assert httpx.post(server.url + "/runs/wait", json=run).json()["__error__"]["message"] == "no such order"
        response = httpx.get(server.url + "/server")
        assert httpx.get(server.url + "/info").json()["flags"]["server"] is True
    details = response.json()
    assert before["failures"] == []
    assert details["graphs"] == [{"graph_id": "orders", "path": "./orders.py:graph"}]
    assert details["storage"]["kind"] == "sqlite"
    assert details["storage"]["bytes"] >= 4096
    assert details["configuration"]["env"] == dict.fromkeys(config["env"], HIDDEN)
    assert details["configuration"]["threadloom"]["webhook_secret"] == HIDDEN
    assert details["environment"] == {
        "N_JOBS_PER_WORKER": 7,
        "LANGGRAPH_AES_KEY": HIDDEN,
        "LANGGRAPH_SERVER_HOST": "127.0.0.1",
        "LANGGRAPH_API_URL": server.url,
    }
    assert details["workers"] == {"max": 7, "active": 0}
    assert details["versions"]["langgraph"]
    failure = details["failures"][0]
    assert failure["level"] in ("warning", "error")
    assert "no such order" in failure["exception"]
    assert failure["thread_id"]
    for secret in ("sk-secret-1", "k" * 32, SECRET):
        assert secret not in response.text


@pytest.mark.parametrize(
    ("document", "shown"),
    [
        ({"env": {"A": "b"}}, {"env": {"A": HIDDEN}}),
        ({"env": ".env"}, {"env": ".env"}),
        ({"auth": {"path": "./auth.py:auth"}}, {"auth": {"path": "./auth.py:auth"}}),
        (
            {"x": {"api_key": "k", "password": ["p"], "token": None}},
            {"x": {"api_key": HIDDEN, "password": HIDDEN, "token": None}},
        ),
        ({"uri": "postgresql://u:p@host/db"}, {"uri": f"postgresql://{HIDDEN}@host/db"}),
        ({"store": {"index": {"fields": ["$"]}}}, {"store": {"index": {"fields": ["$"]}}}),
    ],
)
def test_values_that_may_be_secrets_are_hidden(document, shown):
    assert without_secrets(document) == shown
