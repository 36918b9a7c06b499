"""What routes answer is what their response structs say: no field is missing, none is there that no struct has."""

from pathlib import Path
from typing import get_args

import httpx
import msgspec
import pytest

from tests.server import running
from threadloom.api.docs import all_operations
from threadloom.codec import ResponseBody

APP = Path(__file__).parents[1] / "apps" / "hooks"
WEBHOOK = "/ok"
"""A path of the server's own that takes no POST: its delivery is tried, noted, and can be made again."""


def holds_structs(type_):
    return (isinstance(type_, type) and issubclass(type_, ResponseBody)) or any(map(holds_structs, get_args(type_)))


DESCRIBED = {(one.method, one.path): one.result for one in all_operations() if holds_structs(one.result)}


def plain(value):
    """A decoded answer in plain JSON values: what was in it that no struct has is not there any more."""
    if isinstance(value, msgspec.Struct):
        names = {field.name: field.encode_name for field in msgspec.structs.fields(value)}
        found = {names[name]: getattr(value, name) for name in names}
        return {name: plain(item) for name, item in found.items() if item is not msgspec.UNSET}
    if isinstance(value, dict):
        return {key: plain(item) for key, item in value.items()}
    return [plain(item) for item in value] if isinstance(value, list) else value


class Caller:
    """Makes requests, and holds each answer to the struct of its route."""

    def __init__(self, http):
        self._http = http
        self.seen = set()

    def __call__(self, method, path, *, params=None, body=None, filled=True, **names):
        response = self._http.request(method, path.format(**names), params=params, json=body)
        assert response.is_success, (method, path, response.text)
        value = response.json()
        assert value if filled else True, f"{method} {path} shows nothing"
        described = path.replace("{namespace}", "{namespace:path}")
        assert plain(msgspec.json.decode(response.content, type=DESCRIBED[method, described])) == value
        self.seen.add((method, described))
        return value


@pytest.fixture(scope="module")
def http(tmp_path_factory):
    data = tmp_path_factory.mktemp("responses") / "data"
    with running(APP, data) as server, httpx.Client(base_url=server.url, timeout=60) as http:
        yield http


def test_every_route_answers_what_its_struct_says(http):
    call = Caller(http)

    for path in ("/", "/ok", "/live", "/info", "/server"):
        call("GET", path)

    assistant = call("POST", "/assistants", body={"graph_id": "counter"})["assistant_id"]
    one = {"assistant_id": assistant}
    call("PATCH", "/assistants/{assistant_id}", body={"name": "renamed"}, **one)
    call("POST", "/assistants/{assistant_id}/latest", body={"version": 1}, **one)
    call("GET", "/assistants/{assistant_id}", **one)
    call("POST", "/assistants/search", body={})
    call("POST", "/assistants/{assistant_id}/versions", body={}, **one)
    for part in ("graph", "schemas"):
        call("GET", f"/assistants/{{assistant_id}}/{part}", **one)
    call("GET", "/assistants/{assistant_id}/subgraphs", filled=False, **one)
    call("GET", "/assistants/{assistant_id}/subgraphs/{namespace}", filled=False, namespace="none", **one)

    body = {"metadata": {"a": 1}, "ttl": {"ttl": 60, "strategy": "delete"}}
    thread = call("POST", "/threads", body=body)["thread_id"]
    of = {"thread_id": thread}
    asked = {"assistant_id": assistant, "input": {"n": 1}, "webhook": WEBHOOK}
    run = call("POST", "/threads/{thread_id}/runs", body=asked, **of)
    http.get(f"/threads/{thread}/runs/{run['run_id']}/join").raise_for_status()
    call("GET", "/threads/{thread_id}/runs", **of)
    call("GET", "/threads/{thread_id}/runs/{run_id}", run_id=run["run_id"], **of)
    call("POST", "/runs", body=asked)
    call("POST", "/runs/batch", body=[asked, asked])

    copy = call("POST", "/threads/{thread_id}/copy", **of)
    assert copy["forked_from"]["thread_id"] == thread
    assert "ttl" in call("GET", "/threads/{thread_id}", params={"include": "ttl"}, **of)
    call("PATCH", "/threads/{thread_id}", body={"metadata": {"b": 2}}, **of)
    assert "extracted" in call("POST", "/threads/search", body={"extract": {"n": "values.n"}})[0]
    call("GET", "/threads/{thread_id}/storage", thread_id=copy["thread_id"])
    call("GET", "/threads/{thread_id}/branches", thread_id=copy["thread_id"])
    call("GET", "/threads/{thread_id}/lineage", **of)
    call("GET", "/threads/{thread_id}/digests", **of)
    call("GET", "/threads/{thread_id}/compare/{other_id}", other_id=copy["thread_id"], params={"state": "true"}, **of)
    call("PUT", "/threads/{thread_id}/tags/{name}", name="kept", body={}, **of)
    call("GET", "/threads/{thread_id}/tags", **of)
    state = call("GET", "/threads/{thread_id}/state", **of)
    call("POST", "/threads/{thread_id}/state", body={"values": {"n": 5}}, **of)
    place = {"checkpoint_id": state["checkpoint_id"], **of}
    call("GET", "/threads/{thread_id}/state/{checkpoint_id}", **place)
    call("POST", "/threads/{thread_id}/state/checkpoint", body={"checkpoint": state["checkpoint"]}, **of)
    call("POST", "/threads/{thread_id}/append", body={"thread_id": copy["thread_id"], "values": {"n": 6}}, **of)
    call("POST", "/threads/{thread_id}/reset", body={"checkpoint_id": "kept"}, **of)
    call("POST", "/threads/{thread_id}/promote", body={"thread_id": copy["thread_id"]}, **of)
    call("POST", "/threads/{thread_id}/history", body={}, **of)
    call("GET", "/threads/{thread_id}/history", **of)

    cron = call("POST", "/runs/crons", body={"schedule": "0 0 1 1 *", **asked})["cron_id"]
    call("POST", "/threads/{thread_id}/runs/crons", body={"schedule": "0 0 1 1 *", **asked}, **of)
    call("GET", "/runs/crons/{cron_id}", cron_id=cron)
    call("PATCH", "/runs/crons/{cron_id}", body={"enabled": False}, cron_id=cron)
    call("POST", "/runs/crons/search", body={})

    http.put("/store/items", json={"namespace": ["a"], "key": "k", "value": {"x": 1}}).raise_for_status()
    call("GET", "/store/items", params={"namespace": "a", "key": "k"})
    call("POST", "/store/items/search", body={"namespace_prefix": ["a"]})
    call("POST", "/store/namespaces", body={})

    delivery = call("GET", "/webhooks/deliveries", params={"run_id": run["run_id"]})[0]["delivery_id"]
    call("GET", "/webhooks/deliveries/{delivery_id}", delivery_id=delivery)
    call("POST", "/webhooks/deliveries/{delivery_id}/redeliver", delivery_id=delivery)

    call("POST", "/threads/{thread_id}/runs", body={**asked, "after_seconds": 600}, **of)
    call("GET", "/queue", params={"thread_id": thread})
    call("POST", "/threads/prune", body={"thread_ids": [copy["thread_id"]]})
    assert call.seen == DESCRIBED.keys()
