"""Studio in a real browser, on a real server with scripted graphs: it shows what the server has, live, and asks nobody else."""

import json
import re

import httpx
import pytest
from playwright.sync_api import expect

from tests.browser.studio_page import AXE, Studio, build
from tests.server import running

# --- the thread page ---


def test_an_answer_is_seen_as_it_is_written_in_every_tab_and_after_a_reload(visit, threads):
    studio = visit("threads/new?graph=support")
    studio.write("slowly one two")
    thread_id = studio.thread_id
    threads.permit(thread_id, 3)
    studio.reads("slowly one two", "You said: slowly")
    expect(studio.button("Stop")).to_be_visible()
    other = visit(f"threads/{thread_id}")
    other.reads("slowly one two", "You said: slowly")
    studio.page.reload()
    studio.reads("slowly one two", "You said: slowly")
    threads.permit(thread_id, 4)
    studio.reads("slowly one two", "You said: slowly one")
    other.reads("slowly one two", "You said: slowly one")
    threads.permit(thread_id, 99)
    for tab in (studio, other):
        tab.reads("slowly one two", "You said: slowly one two")
        tab.rests()
        tab.reads("slowly one two", "You said: slowly one two")


def test_a_run_that_another_client_starts_is_seen_and_can_be_stopped(visit, threads):
    thread_id = threads.make("hello")
    studio = visit(f"threads/{thread_id}")
    studio.reads("hello", "You said: hello")
    threads.begin(thread_id, "slowly please")
    threads.permit(thread_id, 2)
    studio.reads("hello", "You said: hello", "slowly please", "You said:")
    expect(studio.page.get_by_role("group", name="Graph, running: answer")).to_be_visible()
    studio.button("Stop").click()
    studio.rests()
    studio.reads("hello", "You said: hello", "slowly please")


def test_what_is_sent_during_a_run_waits_for_it(visit, threads):
    thread_id = threads.make()
    studio = visit(f"threads/{thread_id}")
    studio.write("slowly first")
    expect(studio.button("Queue")).to_be_visible()
    studio.write("second")
    expect(studio.page.get_by_text("1 queued")).to_be_visible()
    threads.permit(thread_id, 99)
    studio.reads("slowly first", "You said: slowly first", "second", "You said: second")
    studio.rests()


def test_calls_failures_and_questions_are_shown_with_their_nodes(visit, threads):
    studio = visit(f"threads/{threads.make('lookup my lamp')}")
    call = studio.page.locator("details.fold").filter(has_text="lookup_order")
    expect(call).to_contain_text("order_id: 8812")
    call.locator("summary").first.click()
    expect(call).to_contain_text('status: "lost"')

    studio.go(f"threads/{threads.make('please fail')}")
    expect(studio.page.get_by_role("alert")).to_contain_text("ValueError in answer")
    expect(studio.page.get_by_role("alert")).to_contain_text("the payment service refused order 8812")

    thread_id = threads.make("ask first")
    studio.go(f"threads/{thread_id}")
    expect(studio.page.get_by_text("Waits for an answer")).to_be_visible()
    expect(studio.page.get_by_text('"Refund order 8812?"')).to_be_visible()
    studio.write("yes, refund it")
    studio.reads("ask first", "Your answer was: yes, refund it")
    assert threads.state(thread_id)["next"] == []


def test_subagents_events_tokens_and_markdown_of_a_run_are_shown_and_stay(visit, threads):
    studio = visit("threads/new?graph=desk")
    studio.write("slowly: where is order 4711?")
    thread_id = studio.thread_id
    subagent = studio.page.locator("details.fold").filter(has=studio.page.locator("summary code", has_text="policy"))
    expect(subagent).to_contain_text("I found three documents on refunds.")
    expect(subagent).to_contain_text("2 messages")
    threads.permit(thread_id, 999)
    studio.rests()
    last = studio.page.locator(".turn.ai .text").last
    expect(last.locator("ol li li").last).to_have_text("arrives on Thursday")
    expect(last.locator("td").nth(2)).to_have_text("refunded")
    expect(last.get_by_role("link", name="our policy")).to_have_attribute("rel", "noopener noreferrer")
    expect(studio.page.locator(".who", has_text="tokens")).to_contain_text(re.compile(r"\d\d:\d\d.* m?s.*tokens"))
    expect(subagent).to_contain_text("I found three documents on refunds.")
    events = studio.page.locator("details.fold", has_text="2 events")
    events.locator("summary").click()
    expect(events).to_contain_text("documents: 3")


def test_a_graph_without_messages_takes_a_form_or_json_and_shows_its_state(visit, threads):
    studio = visit("threads/new?graph=ledger")
    studio.page.get_by_label("Invoice").fill("17")
    studio.button("JSON").click()
    field = studio.page.get_by_label("Input as JSON")
    expect(field).to_have_value(re.compile('"invoice": "17"'))
    field.fill('{"invoice": "17", "amount": }')
    expect(studio.button("Send")).to_be_disabled()
    field.fill('{"invoice": "17", "amount": 480.5}')
    studio.button("Send").click()
    assert studio.thread_id
    expect(studio.page.get_by_role("complementary", name="State")).to_contain_text("booked: true")


def test_steps_and_the_state_of_each_have_an_address(visit, threads):
    thread_id = threads.make("lookup my lamp")
    studio = visit(f"threads/{thread_id}?view=steps")
    steps = studio.page.locator("button.step")
    expect(steps).to_have_count(5)
    expect(steps.first).to_contain_text("answer")
    steps.filter(has_text="plan").click()
    pane = studio.page.get_by_role("complementary", name="State")
    expect(pane).to_contain_text("step 1")
    expect(pane.locator(".changed")).to_have_text([re.compile("messages"), re.compile("attempts")])
    other = visit(studio.page.url.partition("#/")[2])
    expect(other.page.get_by_role("complementary", name="State")).to_contain_text("step 1")
    other.page.get_by_role("button", name="tools", exact=True).click()
    expect(other.page.locator("button.step")).to_have_count(1)


def test_a_long_history_is_read_in_pages_and_drawn_in_part(visit, threads):
    thread_id = threads.make("hello")
    with httpx.Client(base_url=threads.server, timeout=60) as client:
        for number in range(120):
            update = {"values": {"attempts": number}, "as_node": "plan"}
            client.post(f"/threads/{thread_id}/state", json=update).raise_for_status()
    studio = visit(f"threads/{thread_id}?view=everything")
    asked = []
    studio.page.on("request", lambda one: asked.append(one) if one.url.endswith("/history") else None)
    steps = studio.page.locator("button.step")
    expect(steps.first).to_contain_text("122")
    for _ in range(40):
        studio.page.locator(".talk").evaluate("box => box.scrollTo(0, box.scrollHeight)")
        if steps.last.locator("span").first.inner_text() == "-1":
            break
        studio.page.wait_for_timeout(50)
    expect(steps.last).to_contain_text("input")
    assert steps.count() < 40
    assert all(one.post_data_json["limit"] <= 51 for one in asked)
    studio.page.locator(".talk").evaluate("box => box.scrollTo(0, 0)")
    expect(steps.first).to_contain_text("122")
    # Its checkpoint was not kept, and is read again.
    expect(studio.page.locator(".talk .json").first).to_contain_text("checkpoint")


def test_the_graph_is_moved_and_zoomed_by_keys_and_its_nodes_picked(visit, threads):
    studio = visit(f"threads/{threads.make('lookup my lamp')}")
    picture = studio.page.get_by_role("group", name="Graph")
    node = picture.get_by_role("button", name="tools")
    node.focus()
    at_first = picture.get_attribute("viewBox")
    for key in ("+", "ArrowDown"):
        before = picture.get_attribute("viewBox")
        studio.page.keyboard.press(key)
        expect(picture).not_to_have_attribute("viewBox", before)
    studio.page.keyboard.press("0")
    expect(picture).to_have_attribute("viewBox", at_first)
    studio.page.keyboard.press("Enter")
    expect(studio.page.locator("button.step")).to_have_count(1)
    expect(studio.page).to_have_url(re.compile("node=tools"))


# --- the list ---


@pytest.fixture(scope="module")
def many(threads):
    """A few hundred threads of one owner, the newest the last."""
    with httpx.Client(base_url=threads.server) as client:
        for number in range(250):
            body = {"metadata": {"title": f"Errand {number}", "owner": "bob", "graph_id": "support"}}
            client.post("/threads", json=body).raise_for_status()


def test_rows_are_fetched_as_they_come_into_view_and_without_values(visit, many):
    studio = visit("threads?q=owner%3Dbob")
    asked = []
    studio.page.on(
        "request", lambda one: asked.append(one.post_data_json) if one.url.endswith("/threads/search") else None
    )
    expect(studio.row("Errand 249")).to_be_visible()
    assert studio.rows.count() < 80
    expect(studio.page.get_by_text("250", exact=True)).to_be_visible()
    studio.page.locator(".lines").evaluate("box => box.scrollTo(0, box.scrollHeight)")
    expect(studio.row("Errand 0")).to_be_visible()
    assert {200} <= {one["offset"] for one in asked}
    assert all("values" not in one["select"] and one["limit"] <= 100 for one in asked)


def test_words_find_threads_and_filters_leave_out_others(visit, threads, many):
    threads.make("where is the nearest open pharmacy", owner="eve")
    studio = visit("threads")
    expect(studio.rows.first).to_be_visible()
    studio.page.keyboard.press("/")
    studio.page.keyboard.type("errand 24")
    expect(studio.rows).to_have_count(13)  # 24, 124, 224, 240 to 249
    studio.page.get_by_label("Search").fill("owner=eve")
    expect(studio.rows).to_have_count(1)
    expect(studio.rows).to_contain_text("where is the nearest open pharmacy")
    studio.page.get_by_label("Status").first.select_option("error")
    expect(studio.page.get_by_text("No thread matches")).to_be_visible()
    assert "status=error" in studio.page.url


def test_threads_are_opened_copied_and_deleted_by_keys(visit, threads):
    for number in range(3):
        threads.make(f"case {number}", owner="kay")
    studio = visit("threads?q=owner%3Dkay")
    expect(studio.rows).to_have_count(3)
    keys = studio.page.keyboard
    keys.press("c")
    expect(studio.rows).to_have_count(4)
    expect(studio.rows.first).to_contain_text("copy of")
    keys.press("j")
    for key in "xjx":
        keys.press(key)
    expect(studio.page.get_by_text("2 selected")).to_be_visible()
    keys.press("d")
    expect(studio.page.get_by_role("dialog")).to_contain_text("Delete 2 threads?")
    keys.press("Enter")
    expect(studio.rows).to_have_count(2)
    expect(studio.rows.first).to_contain_text("copy of")
    keys.press("k")
    keys.press("Enter")
    studio.reads("case 2", "You said: case 2")
    keys.press("?")
    expect(studio.page.get_by_role("dialog", name="Keys")).to_contain_text("Copy this thread")
    keys.press("Escape")
    expect(studio.page.get_by_role("dialog")).to_have_count(0)
    keys.press("Escape")
    expect(studio.rows).to_have_count(2)


# --- a server that asks who one is ---

LOCKED = """
from langgraph.graph import StateGraph
from langgraph_sdk import Auth

auth = Auth()

@auth.authenticate
async def authenticate(authorization):
    if authorization not in ("Bearer ann-secret", "Bearer bob-secret"):
        raise Auth.exceptions.HTTPException(status_code=401, detail="who are you?")
    return authorization.split()[1]

@auth.on.threads
async def own(ctx, value):
    value.setdefault("metadata", {})["owner"] = ctx.user.identity
    return {"owner": ctx.user.identity}

graph = StateGraph(dict).add_node("a", lambda state: state).set_entry_point("a").compile()
"""


def test_a_token_is_typed_in_and_shows_what_it_may_see(tmp_path, browser):
    app = tmp_path / "app"
    app.mkdir()
    (app / "app.py").write_text(LOCKED)
    config = {"dependencies": ["."], "graphs": {"a": "./app.py:graph"}, "auth": {"path": "./app.py:auth"}}
    (app / "langgraph.json").write_text(json.dumps(config))
    build()
    with running(app, tmp_path / "data") as server:
        for who in ("ann", "bob"):
            headers = {"authorization": f"Bearer {who}-secret"}
            body = {"metadata": {"title": f"Errand of {who}"}}
            httpx.post(f"{server.url}/threads", json=body, headers=headers).raise_for_status()
        page = browser.new_context().new_page()
        studio = Studio(page, server.url)
        for token in ("wrong", "ann-secret"):
            page.get_by_role("textbox", name="Token").fill(token)
            studio.button("Continue").click()
            if token == "wrong":
                expect(page.get_by_text("The server refused this token")).to_be_visible()
        expect(studio.rows).to_have_count(1)
        expect(studio.rows).to_contain_text("Errand of ann")
        assert "secret" not in page.url
        page.reload()
        expect(studio.rows).to_contain_text("Errand of ann")
        page.context.close()


# --- everywhere ---


@pytest.mark.parametrize(("scheme", "size"), [("light", (1440, 900)), ("dark", (360, 740))], ids=["wide", "narrow"])
def test_pages_are_accessible_and_do_not_scroll_sideways(visit, threads, size, scheme):
    thread_id = threads.make("lookup my lamp")
    studio = visit("threads", size=size, scheme=scheme)
    for at in ("threads", f"threads/{thread_id}", f"threads/{thread_id}?view=steps", "server", "threads/none"):
        studio.go(at)
        expect(studio.page.locator(".bone")).to_have_count(0)
        assert studio.page.evaluate("document.documentElement.scrollWidth <= innerWidth"), at
        studio.page.evaluate(AXE.read_text())
        found = studio.page.evaluate("axe.run().then(result => result.violations)")
        assert [(at, one["id"], [node["html"] for node in one["nodes"]]) for one in found] == []


def test_a_server_that_goes_away_is_told_and_comes_back(visit, server, threads):
    thread_id = threads.make("hello")
    studio = visit(f"threads/{thread_id}")
    studio.reads("hello", "You said: hello")
    server.kill()
    expect(studio.page.get_by_role("status", name=re.compile("does not answer"))).to_be_visible()
    studio.reads("hello", "You said: hello")
    server.start()
    expect(studio.page.get_by_role("status", name="Connected to the server")).to_be_visible()
    studio.write("still there?")
    studio.reads("hello", "You said: hello", "still there?", "You said: still there?")
