"""Studio's pages beside the threads: what waits is answered, what is queued is seen, and what the server keeps is managed."""

import json
import re
import time
from datetime import UTC, datetime

import httpx
import pytest
from playwright.sync_api import expect

from tests.browser.studio_page import AXE, Studio, build
from tests.server import running

PIXEL = bytes.fromhex(
    "89504e470d0a1a0a0000000d4948445200000001000000010806000000 1f15c4890000000d49444154789c6360f8cf50000003000180b5a7e5ab"
    "0000000049454e44ae426082".replace(" ", "")
)


@pytest.fixture(scope="module")
def http(server):
    with httpx.Client(base_url=server.url, timeout=60) as client:
        yield client


def ran(http, graph, given, **metadata):
    """A thread on which a graph was run until it ended or asked."""
    thread = http.post("/threads", json={"metadata": {"graph_id": graph, **metadata}}).json()["thread_id"]
    body = {"assistant_id": graph, "input": given}
    http.post(f"/threads/{thread}/runs/wait", json=body).raise_for_status()
    return thread


def until(holds):
    deadline = time.monotonic() + 60
    while not (found := holds()):
        assert time.monotonic() < deadline, "it never came to hold"
        time.sleep(0.05)
    return found


def values(http, thread):
    return http.get(f"/threads/{thread}/state").json()["values"]


# --- inbox ---


def test_a_form_from_the_schema_answers_an_interrupt(visit, http):
    thread = ran(http, "payment", {"invoice": "17"}, title="Invoice 17")
    assert http.get(f"/threads/{thread}/state").json()["interrupts"][0]["response_schema"]["title"] == "Decision"
    studio = visit(f"inbox/{thread}")
    request = studio.page.get_by_role("region", name="Request")
    expect(request).to_contain_text("Pay invoice 17?")
    answer = request.get_by_role("button", name="Answer")
    expect(answer).to_be_disabled()
    request.get_by_label("Approved").select_option("Yes")
    request.get_by_label("Limit").fill("20000")
    expect(request.get_by_text("at most 10000")).to_be_visible()
    request.get_by_label("Limit").fill("500")
    request.get_by_label("Urgency").select_option("high")
    answer.click()
    wanted = {"approved": True, "limit": 500, "urgency": "high", "note": None}
    until(lambda: values(http, thread).get("decision") == wanted)
    expect(studio.page.get_by_role("link", name="Invoice 17")).to_have_count(0)


def test_several_are_answered_at_once_and_others_are_put_off(visit, http):
    asking = [ran(http, "payment", {"invoice": str(n)}, title=f"Bill {n}") for n in (1, 2, 3)]
    studio = visit("inbox")
    for name in ("Bill 1", "Bill 2"):
        studio.page.get_by_label(f"Select {name}").check()
    request = studio.page.get_by_role("region", name="Request")
    expect(request).to_contain_text("Pay invoice 1?")
    expect(request).to_contain_text("Pay invoice 2?")
    request.get_by_label("Approved").select_option("No")
    request.get_by_label("Limit").fill("1")
    request.get_by_role("button", name="Answer all 2").click()
    for thread in asking[:2]:
        until(lambda thread=thread: values(http, thread).get("decision", {}).get("approved") is False)
    assert "decision" not in values(http, asking[2])

    studio.page.get_by_role("link", name="Bill 3").click()
    studio.page.get_by_label("Later").select_option("in 1 day")
    expect(studio.page.get_by_role("link", name="Bill 3")).to_have_count(0)
    assert http.get(f"/threads/{asking[2]}").json()["metadata"]["inbox_later"] > datetime.now(UTC).isoformat()
    studio.page.get_by_role("button", name="1 put off").click()
    expect(studio.page.get_by_role("link", name="Bill 3")).to_be_visible()
    http.delete(f"/threads/{asking[2]}")


@pytest.mark.parametrize("kind", ["human", "review"])
def test_the_known_shapes_are_answered_with_their_decisions(visit, http, kind):
    thread = ran(http, "errand", {"kind": kind, "file": "old.log"}, title="Clean up")
    studio = visit(f"inbox/{thread}")
    request = studio.page.get_by_role("region", name="Request")
    expect(request).to_contain_text("Delete old.log?")
    request.get_by_role("button", name="Edit").click()
    request.get_by_label("Arguments of delete_file").fill('{"path": "old.log", "force": true}')
    request.get_by_role("button", name="Answer", exact=True).click()
    args = {"path": "old.log", "force": True}
    human = [{"type": "edit", "args": {"action": "delete_file", "args": args}}]
    review = {"decisions": [{"type": "edit", "edited_action": {"name": "delete_file", "args": args}}]}
    until(lambda: values(http, thread).get("answer") == (human if kind == "human" else review))


# --- runs ---


def test_queued_runs_tell_their_reason_and_are_cancelled(visit, http, threads):
    thread = threads.make(title="The slow one")
    threads.begin(thread, "slowly please")
    run = {"assistant_id": "support", "input": {"messages": []}, "multitask_strategy": "enqueue"}
    second = http.post(f"/threads/{thread}/runs", json=run).json()["run_id"]
    studio = visit("runs")
    rows = studio.page.locator("tbody tr").filter(has_text="The slow one")
    expect(rows).to_have_count(2)
    expect(rows.first).to_contain_text("A worker executes it.")
    expect(rows.last).to_contain_text("Another run of its thread is before it.")
    rows.last.get_by_role("button", name="Cancel").click()
    expect(rows).to_have_count(1)
    assert http.get(f"/threads/{thread}/runs/{second}").json()["status"] == "interrupted"
    rows.get_by_role("link", name="The slow one").click()
    assert studio.thread_id == thread
    threads.permit(thread, 99)
    studio.rests()


# --- assistants, store, crons ---


def test_an_assistant_gets_a_version_and_goes_back_to_the_first(visit, http):
    made = http.post(
        "/assistants", json={"graph_id": "greeter", "name": "Polite", "context": {"greeting": "Good day"}}
    ).json()
    at = f"/assistants/{made['assistant_id']}"
    studio = visit("assistants")
    studio.page.get_by_role("link", name="Polite").click()
    studio.button("New version").click()
    dialog = studio.page.get_by_role("dialog")
    dialog.get_by_label("Greeting").fill("Good evening")
    dialog.get_by_label("Loud").select_option("Yes")
    studio.button("Save as new version").click()
    expect(studio.page.get_by_text("version 2", exact=True)).to_be_visible()
    assert http.get(at).json()["context"] == {"greeting": "Good evening", "loud": True}
    studio.button("Use version 1").click()
    expect(studio.page.get_by_text("version 1", exact=True)).to_be_visible()
    assert http.get(at).json()["context"] == {"greeting": "Good day"}
    studio.button("Delete").click()
    studio.page.get_by_role("dialog").get_by_role("button", name="Delete").click()
    until(lambda: http.get(at).status_code == 404)
    expect(studio.page.get_by_role("link", name="Polite")).to_have_count(0)


def test_items_of_the_store_are_found_changed_and_deleted(visit, http):
    for owner, city in (("ann", "Lisbon"), ("bob", "Oslo")):
        item = {"namespace": ["users", owner], "key": "city", "value": {"name": city}}
        http.put("/store/items", json=item).raise_for_status()
    studio = visit("store")
    rows = studio.page.locator("tbody tr")
    expect(rows).to_have_count(2)
    studio.page.get_by_role("navigation", name="Namespaces").get_by_role("link", name="ann").click()
    expect(rows).to_have_count(1)
    rows.get_by_role("link", name="city").click()
    studio.button("Edit").click()
    studio.page.get_by_label("Value (JSON)").fill('{"name": "Porto"}')
    studio.button("Save").click()
    expect(studio.page.get_by_role("complementary", name="Item")).to_contain_text('name: "Porto"')
    assert http.get("/store/items", params={"namespace": "users.ann", "key": "city"}).json()["value"] == {
        "name": "Porto"
    }
    studio.go("store?q=oslo")
    expect(rows).to_have_count(1)
    rows.get_by_role("link", name="city").click()
    studio.button("Delete").click()
    studio.page.get_by_role("dialog").get_by_role("button", name="Delete").click()
    expect(studio.page.get_by_text("No item matches")).to_be_visible()
    assert http.get("/store/items", params={"namespace": "users.bob", "key": "city"}).json() is None


def test_a_cron_is_paused_enabled_and_deleted(visit, http):
    body = {"assistant_id": "greeter", "schedule": "0 9 * * 1", "input": {"name": "team"}}
    cron = http.post("/runs/crons", json=body).json()["cron_id"]
    studio = visit("crons")
    row = studio.page.locator("tbody tr").filter(has_text="0 9 * * 1")
    expect(row).to_contain_text(re.compile(r"in \d+ h"))
    row.get_by_role("button", name="Pause").click()
    expect(row).to_contain_text("paused")
    assert http.get(f"/runs/crons/{cron}").json()["enabled"] is False
    row.get_by_role("button", name="Enable").click()
    expect(row).to_contain_text("enabled")
    row.get_by_role("button", name="Delete").click()
    studio.page.get_by_role("dialog").get_by_role("button", name="Delete").click()
    expect(studio.page.get_by_text("No crons")).to_be_visible()
    assert http.get(f"/runs/crons/{cron}").status_code == 404


# --- the composer ---


def test_images_and_files_are_sent_as_content_blocks(visit, http):
    studio = visit("threads/new?graph=support")
    studio.page.locator("input[type=file]").set_input_files(
        [
            {"name": "lamp.png", "mimeType": "image/png", "buffer": PIXEL},
            {"name": "note.txt", "mimeType": "text/plain", "buffer": b"broken"},
        ]
    )
    expect(studio.page.get_by_role("list", name="Attachments")).to_contain_text("lamp.png")
    studio.write("it arrived like this")
    studio.reads("it arrived like this", "", re.compile("You said"))
    expect(studio.page.locator(".turn img")).to_have_attribute("src", re.compile("^data:image/png;base64,"))
    expect(studio.page.locator(".turn").first).to_contain_text("note.txt")
    blocks = values(http, studio.thread_id)["messages"][0]["content"]
    assert [block["type"] for block in blocks] == ["text", "image_url", "file"]
    assert blocks[2]["mime_type"] == "text/plain"


def test_the_drawer_gives_context_and_breakpoints(visit, http):
    studio = visit("threads/new?graph=greeter")
    studio.page.get_by_label("Name").fill("Ann")
    studio.button("Options").click()
    drawer = studio.page.get_by_role("group", name="Options of the run")
    drawer.get_by_label("Greeting").fill("Welcome")
    drawer.get_by_role("group", name="Stop before").get_by_label("greet").check()
    studio.button("Send").click()
    thread = studio.thread_id
    until(lambda: http.get(f"/threads/{thread}").json()["status"] == "interrupted")
    assert http.get(f"/threads/{thread}/state").json()["next"] == ["greet"]
    studio.button("Continue").click()
    until(lambda: values(http, thread).get("text") == "Welcome, Ann")


# --- what is told of a server's code, and what a caller may see ---

APP_CODE = """
from langgraph.graph import StateGraph
from langgraph_sdk import Auth

auth = Auth()

@auth.authenticate
async def authenticate(authorization):
    if authorization not in ("Bearer ann", "Bearer bob"):
        raise Auth.exceptions.HTTPException(status_code=401, detail="who are you?")
    return authorization.split()[1]

@auth.on.threads
async def own(ctx, value):
    value.setdefault("metadata", {})["owner"] = ctx.user.identity
    return {"owner": ctx.user.identity}

@auth.on.crons
async def crons(ctx, value):
    return ctx.user.identity == "ann"

@auth.on.store
async def store(ctx, value):
    return ctx.user.identity == "ann"
"""
GRAPH = """
from langgraph.graph import StateGraph
from langgraph.types import interrupt

def ask(state):
    return {"said": interrupt("Go on?")}

graph = StateGraph(dict).add_node("a", ask).set_entry_point("a").compile()
"""


def test_a_reader_sees_what_the_api_lets_him_and_code_that_does_not_load(tmp_path, browser):
    app = tmp_path / "app"
    app.mkdir()
    (app / "auth.py").write_text(APP_CODE)
    (app / "graph.py").write_text(GRAPH)
    config = {"dependencies": ["."], "graphs": {"a": "./graph.py:graph"}, "auth": {"path": "./auth.py:auth"}}
    (app / "langgraph.json").write_text(json.dumps(config))
    build()
    with running(app, tmp_path / "data", reload=True) as server:
        for who in ("ann", "bob"):
            with httpx.Client(base_url=server.url, headers={"authorization": f"Bearer {who}"}, timeout=60) as client:
                ran(client, "a", {"x": 1}, title=f"Question of {who}")
        page = browser.new_context().new_page()
        studio = Studio(page, server.url, "inbox")
        page.get_by_role("textbox", name="Token").fill("bob")
        studio.button("Continue").click()
        expect(page.get_by_role("link", name="Question of bob")).to_be_visible()
        expect(page.get_by_text("Question of ann")).to_have_count(0)
        for place, words in (("store", "The store cannot be read"), ("crons", "The crons cannot be read")):
            studio.go(place)
            expect(page.get_by_text(words)).to_be_visible()
        (app / "graph.py").write_text("import nothing_of_this_name\n" + GRAPH)
        banner = page.get_by_role("alert").filter(has_text="The changed code does not load")
        expect(banner).to_contain_text("nothing_of_this_name")
        studio.go("inbox")
        banner.get_by_text("The changed code does not load").click()
        expect(banner.locator("pre")).to_contain_text("Traceback")
        (app / "graph.py").write_text(GRAPH + "\n")
        expect(banner).to_have_count(0)
        page.context.close()


@pytest.mark.parametrize(("scheme", "size"), [("light", (1440, 900)), ("dark", (360, 740))], ids=["wide", "narrow"])
def test_pages_are_accessible_and_do_not_scroll_sideways(visit, http, threads, size, scheme):
    asking = ran(http, "payment", {"invoice": "9"}, title="Invoice 9")
    errand = ran(http, "errand", {"kind": "human", "file": "a.log"})
    slow = threads.make()
    threads.begin(slow, "slowly now")
    http.put("/store/items", json={"namespace": ["docs"], "key": "readme", "value": {"text": "long " * 99}})
    http.post("/runs/crons", json={"assistant_id": "greeter", "schedule": "0 9 * * 1", "input": {}})
    assistant = http.post("/assistants/search", json={"graph_id": "greeter"}).json()[0]["assistant_id"]
    studio = visit("inbox", size=size, scheme=scheme)
    places = ["inbox", f"inbox/{asking}", f"inbox/{errand}", "runs", "assistants", f"assistants/{assistant}", "store"]
    places += ["store?key=readme&at=docs", "crons", "threads/new?graph=greeter", f"threads/{asking}"]
    for at in places:
        studio.go(at)
        expect(studio.page.locator(".bone")).to_have_count(0)
        if at.startswith("threads/"):
            studio.button("Options").click()
        assert studio.page.evaluate("document.documentElement.scrollWidth <= innerWidth"), at
        studio.page.evaluate(AXE.read_text())
        found = studio.page.evaluate("axe.run().then(result => result.violations)")
        assert [(at, one["id"], [node["html"] for node in one["nodes"]]) for one in found] == []
    threads.permit(slow, 99)
