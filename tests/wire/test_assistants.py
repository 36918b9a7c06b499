"""Assistants over HTTP: a real server and the stock SDK."""

import asyncio
import uuid
from pathlib import Path

import pytest

from tests.server import running
from threadloom.ids import default_assistant_id

pytestmark = pytest.mark.anyio

APP = Path(__file__).parent.parent / "apps" / "records"
ECHO = default_assistant_id("echo")


@pytest.fixture(scope="module")
def url(tmp_path_factory):
    with running(APP, tmp_path_factory.mktemp("server") / "data") as server:
        yield server.url


async def test_one_goes_through_its_life(client, http):
    made = await client.assistants.create("echo", name="mine", context={"tone": "warm"}, metadata={"owner": "ann"})
    assert made["config"] == {"configurable": {"tone": "warm"}}
    changed = await client.assistants.update(made["assistant_id"], metadata={"more": 1}, description="d")
    assert (changed["version"], changed["metadata"]) == (2, {"owner": "ann", "more": 1})
    assert changed["updated_at"] > made["updated_at"]
    versions = await client.assistants.get_versions(made["assistant_id"])
    assert [(one["version"], one["description"]) for one in versions] == [(2, "d"), (1, None)]
    assert all("updated_at" not in one for one in versions)
    back = await client.assistants.set_latest(made["assistant_id"], 1)
    assert back == made | {"updated_at": back["updated_at"]}
    await client.assistants.delete(made["assistant_id"])
    assert (await http.get(f"/assistants/{made['assistant_id']}")).status_code == 404


async def test_parallel_patches_each_make_a_version(client, http):
    made = await client.assistants.create("echo")
    path = f"/assistants/{made['assistant_id']}"
    answers = await asyncio.gather(*(http.patch(path, json={"metadata": {f"k{n}": n}}) for n in range(8)))
    assert sorted(answer.json()["version"] for answer in answers) == list(range(2, 10))
    assert (await http.get(path)).json()["metadata"] == {f"k{n}": n for n in range(8)}


async def test_parallel_creates_of_one_id_make_one(client):
    wanted = str(uuid.uuid4())
    made = await asyncio.gather(
        *(client.assistants.create("echo", assistant_id=wanted, if_exists="do_nothing", name=str(n)) for n in range(8))
    )
    assert all(one == made[0] for one in made)


async def test_a_description_can_be_cleared(client, http):
    made = await client.assistants.create("echo", description="d")
    answer = await http.patch(f"/assistants/{made['assistant_id']}", json={"description": None})
    assert answer.json()["description"] is None


@pytest.mark.parametrize(
    ("path", "body", "named"),
    [
        ("", {}, "graph_id"),
        ("", {"graph_id": None}, "graph_id"),
        ("", {"graph_id": "echo", "metadata": None}, "metadata"),
        ("", {"graph_id": "echo", "context": []}, "context"),
        ("", {"graph_id": "echo", "config": {"tags": "x"}}, "config.tags"),
        ("", {"graph_id": "echo", "config": {"recursion_limit": True}}, "config.recursion_limit"),
        ("", {"graph_id": "echo", "config": {"configurable": None}}, "config.configurable"),
        ("", {"graph_id": "echo", "assistant_id": "x"}, "assistant ID"),
        ("/search", {"limit": 0}, "limit"),
        ("/search", {"limit": 1001}, "limit"),
        ("/search", {"offset": -1}, "offset"),
        ("/search", {"sort_by": "version"}, "sort_by"),
        ("/search", {"select": ["secret"]}, "select"),
        ("/search", {"name": None}, "name"),
        (f"/{ECHO}/latest", {}, "version"),
        (f"/{ECHO}/latest", {"version": "1"}, "version"),
        (f"/{ECHO}/versions", {"limit": 0}, "limit"),
    ],
)
async def test_a_body_of_the_wrong_shape_names_its_field(http, path, body, named):
    answer = await http.post(f"/assistants{path}", json=body)
    assert answer.status_code == 422
    assert named in answer.json()["detail"]


async def test_search_pages_to_the_end(client, http):
    mark = uuid.uuid4().hex
    made = [await client.assistants.create("echo", name=f"n{n}", metadata={"mark": mark}) for n in range(5)]
    expected = [one["assistant_id"] for one in reversed(made)]
    seen, offset = [], "0"
    while offset is not None:
        body = {"metadata": {"mark": mark}, "limit": 2, "offset": int(offset), "select": ["assistant_id"]}
        page = await http.post("/assistants/search", json=body)
        assert page.headers["x-pagination-total"] == "5"
        seen += [one["assistant_id"] for one in page.json()]
        offset = page.headers.get("x-pagination-next")
    assert seen == expected


async def test_a_run_sees_the_context_of_the_version_that_was_current(client):
    made = await client.assistants.create("echo", context={"tone": "first"})
    before = await client.runs.wait(None, made["assistant_id"], input={})
    await client.assistants.update(made["assistant_id"], context={"tone": "second"})
    after = await client.runs.wait(None, made["assistant_id"], input={})
    assert (before["seen"], after["seen"]) == ("first", "second")


async def test_deleting_with_threads_takes_only_its_threads(client, http):
    mine, other = await client.assistants.create("echo"), await client.assistants.create("echo")
    gone, kept = (await client.threads.create())["thread_id"], (await client.threads.create())["thread_id"]
    await client.runs.wait(gone, mine["assistant_id"], input={})
    await client.runs.wait(kept, other["assistant_id"], input={})
    await http.delete(f"/assistants/{other['assistant_id']}", params={"delete_threads": "1"})
    assert (await http.get(f"/threads/{kept}")).status_code == 200
    await http.delete(f"/assistants/{mine['assistant_id']}", params={"delete_threads": "TRUE"})
    assert (await http.get(f"/threads/{gone}")).status_code == 404


async def test_a_graphs_own_assistant_cannot_be_deleted(http):
    assert (await http.delete(f"/assistants/{ECHO}")).status_code == 409
    assert (await http.get(f"/assistants/{ECHO}")).json()["description"] == "Says what it sees."


async def test_drawing_subgraphs_and_schemas_take_an_id_or_a_name(client, http):
    for part in ("graph", "subgraphs", "schemas"):
        named = await http.get(f"/assistants/echo/{part}")
        assert named.status_code == 200
        assert named.json() == (await http.get(f"/assistants/{ECHO.upper()}/{part}")).json()
        assert (await http.get(f"/assistants/{uuid.uuid4()}/{part}")).status_code == 404
        assert (await http.get(f"/assistants/nobody/{part}")).status_code == 422
    assert list(await client.assistants.get_subgraphs("nested")) == ["inner"]
    assert {node["id"] for node in (await client.assistants.get_graph("nested", xray=True))["nodes"]} >= {"inner:see"}


async def test_states_of_plain_typed_dicts_have_schemas(client):
    schemas = await client.assistants.get_schemas("echo")
    assert schemas["state_schema"]["title"] == "echo_state"
    assert set(schemas["input_schema"]["properties"]) == {"words", "seen"}
    assert schemas["context_schema"]["title"] == "Tone"


async def test_the_drawing_of_a_factorys_graph_follows_the_assistant(client):
    made = await client.assistants.create("made", context={"steps": 3})
    drawing = await client.assistants.get_graph(made["assistant_id"])
    assert [node["id"] for node in drawing["nodes"]] == ["__start__", "step_0", "step_1", "step_2", "__end__"]
