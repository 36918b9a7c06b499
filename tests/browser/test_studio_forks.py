"""Forks in Studio: copies, edits, siblings, undo, and the pictures of timeline, lineage and compare, beside what the API says."""

import re

import httpx
import pytest
from playwright.sync_api import expect

from tests.browser.studio_page import AXE, said


class Api:
    """What the server says of threads."""

    def __init__(self, server):
        self.client = httpx.Client(base_url=server, timeout=30)

    def get(self, path, **params):
        return self.client.get(path, params=params).raise_for_status().json()

    def post(self, path, **body):
        return self.client.post(path, json=body).raise_for_status().json()

    def texts(self, thread_id):
        return [one["content"] for one in self.get(f"/threads/{thread_id}/state")["values"]["messages"]]

    def copy(self, thread_id, **options):
        return self.post(f"/threads/{thread_id}/copy", **options)["thread_id"]

    def say(self, thread_id, text, graph="support"):
        self.post(f"/threads/{thread_id}/runs/wait", assistant_id=graph, input=said(text))

    def before(self, thread_id, text):
        """The checkpoint that a message was said at."""
        states = self.get(f"/threads/{thread_id}/state")["values"]["messages"]
        message_id = next(one["id"] for one in states if one["content"] == text)
        turns = self.get(f"/threads/{thread_id}/branches")["turns"]
        return next(turn["before"] for turn in turns if turn["message_id"] == message_id)


@pytest.fixture(scope="module")
def api(server):
    return Api(server.url)


def menu(studio, turn, action):
    studio.turns.nth(turn).get_by_role("button", name="More for this message").click()
    studio.page.get_by_role("menuitem", name=action).click()


def elsewhere(studio, thread_id):
    """Waits until another thread is shown, and returns its id."""
    studio.page.wait_for_url(lambda url: "/threads/" in url and thread_id not in url)
    return studio.thread_id


# --- copies and forks ---


def test_a_copy_made_at_a_checkpoint_is_run_on_and_both_sides_say_where(visit, threads, api):
    thread_id = threads.make("one")
    api.say(thread_id, "two")
    before = api.before(thread_id, "two")
    studio = visit(f"threads/{thread_id}?view=timeline&cp={before}")
    pane = studio.page.get_by_role("complementary", name="State")
    pane.get_by_role("button", name="Copy here").click()
    copy = elsewhere(studio, thread_id)
    studio.reads("one", "You said: one")
    expect(studio.page.get_by_role("link", name=re.compile("Copied from .* here"))).to_be_visible()
    studio.write("three")
    studio.reads("one", "You said: one", "three", "You said: three")
    assert api.texts(copy) == ["one", "You said: one", "three", "You said: three"]
    assert api.texts(thread_id) == ["one", "You said: one", "two", "You said: two"]
    studio.page.get_by_role("link", name=re.compile("Copied from .* here")).click()
    studio.reads("one", "You said: one")
    studio.page.get_by_role("link", name="Back to the newest", exact=True).click()
    marks = studio.page.locator(".marks")
    expect(marks).to_have_count(1)
    expect(marks.get_by_role("link")).to_have_attribute("href", f"#/threads/{copy}")
    assert api.get(f"/threads/{copy}")["forked_from"]["checkpoint_id"] == before


def test_an_edited_message_is_a_sibling_and_the_pager_goes_between_them(visit, threads, api):
    thread_id = threads.make("one")
    api.say(thread_id, "two")
    studio = visit(f"threads/{thread_id}")
    studio.reads("one", "You said: one", "two", "You said: two")
    turn = studio.turns.nth(2)
    turn.hover()
    turn.get_by_role("button", name="Edit", exact=True).click()
    field = studio.page.get_by_label("Edited message")
    expect(field).to_have_value("two")
    field.fill("three")
    field.press("Enter")
    studio.reads("one", "You said: one", "three", "You said: three")
    studio.rests()
    pager = studio.page.get_by_role("group", name="Alternatives")
    expect(pager).to_have_text("‹2/2›")
    histories = []
    studio.page.on("request", lambda asked: histories.append(asked.url) if asked.url.endswith("/history") else None)
    pager.get_by_role("button", name="Alternative before").click()
    studio.reads("one", "You said: one", "two", "You said: two")
    expect(pager).to_have_text("‹1/2›")
    assert histories == []
    turns = api.get(f"/threads/{thread_id}/branches")["turns"]
    assert (
        f"cp={next(turn['after'] for turn in turns if turn['role'] == 'ai' and not turn['active'])}" in studio.page.url
    )
    other = visit(studio.page.url.partition("#/")[2])
    other.reads("one", "You said: one", "two", "You said: two")
    # What is sent goes on from the branch that is shown.
    studio.write("four")
    studio.reads("one", "You said: one", "two", "You said: two", "four", "You said: four")
    studio.rests()
    assert api.texts(thread_id)[-2:] == ["four", "You said: four"]


def test_an_edit_with_a_subagent_that_remembers_is_a_copy_and_right(visit, threads, api):
    thread_id = threads.make("Ann", graph="team")
    api.say(thread_id, "Bob", graph="team")
    assert api.texts(thread_id)[-1] == "I know: Ann, Bob"
    studio = visit(f"threads/{thread_id}")
    studio.reads("Ann", "I know: Ann", "Bob", "I know: Ann, Bob")
    menu(studio, 2, "Edit and fork")
    expect(studio.page.get_by_text("Makes a copy of the thread")).to_be_visible()
    field = studio.page.get_by_label("Edited message")
    field.fill("Cid")
    field.press("Enter")
    copy = elsewhere(studio, thread_id)
    studio.reads("Ann", "I know: Ann", "Cid", "I know: Ann, Cid")
    studio.rests()
    assert api.texts(copy)[-1] == "I know: Ann, Cid"
    assert api.texts(thread_id)[-1] == "I know: Ann, Bob"
    # Both remember their own from now on.
    for one, known in ((copy, "Ann, Cid, Dan"), (thread_id, "Ann, Bob, Dan")):
        api.say(one, "Dan", graph="team")
        assert api.texts(one)[-1] == f"I know: {known}"


def test_an_answer_is_made_again_from_where_its_step_began(visit, threads, api):
    thread_id = threads.make("one")
    studio = visit(f"threads/{thread_id}")
    menu(studio, 1, "Re-run from here")
    expect(studio.page.get_by_role("group", name="Alternatives")).to_have_text("‹2/2›")
    studio.rests()
    studio.reads("one", "You said: one")
    turns = api.get(f"/threads/{thread_id}/branches")["turns"]
    assert [len(turn["siblings"]) for turn in turns] == [1, 2, 2]


def test_a_state_is_edited_with_its_changes_shown_and_saved_as_a_branch(visit, threads, api):
    thread_id = threads.make("lookup my lamp")
    before = next(one for one in api.get(f"/threads/{thread_id}/history") if one["next"] == ["answer"])
    studio = visit(f"threads/{thread_id}?view=timeline&cp={before['checkpoint']['checkpoint_id']}")
    studio.button("Edit and fork").click()
    dialog = studio.page.get_by_role("dialog")
    field = dialog.get_by_label("State as JSON")
    expect(field).to_have_value(re.compile('"status": "lost"'))
    expect(dialog.get_by_role("button", name="Save", exact=True)).to_be_disabled()
    field.fill(field.input_value().replace('"lost"', '"found"', 1).replace('\\"lost\\"', '\\"found\\"'))
    changes = dialog.get_by_role("region", name="Changes")
    expect(changes.locator(".change")).to_have_count(2)
    expect(changes).to_contain_text("order.status")
    expect(changes.locator(".add").last).to_have_text(re.compile('"found"'))
    dialog.get_by_role("button", name="Save and run").click()
    expect(dialog).to_have_count(0)
    studio.rests()
    expect(studio.page.get_by_role("list", name="Checkpoints").locator(".on1").first).to_be_attached()
    state = api.get(f"/threads/{thread_id}/state")
    assert state["values"]["order"]["status"] == "found"
    assert '"found"' in state["values"]["messages"][-1]["content"]
    assert (
        api.get(f"/threads/{thread_id}/state/{before['checkpoint']['checkpoint_id']}")["values"]["order"]["status"]
        == "lost"
    )


# --- pictures ---


def test_the_timeline_draws_each_checkpoint_once_and_reads_values_of_the_picked_one_only(visit, threads, api):
    thread_id = threads.make("one")
    for number in range(20):
        api.say(thread_id, f"more {number}")
    api.post(
        f"/threads/{thread_id}/runs/wait",
        assistant_id="support",
        input=said("other"),
        checkpoint_id=api.before(thread_id, "more 18"),
    )
    history = api.get(f"/threads/{thread_id}/history", limit=1000)
    assert len(history) > 50
    studio = visit(f"threads/{thread_id}?view=timeline")
    asked = []
    studio.page.on("request", lambda one: asked.append(one.post_data_json) if one.url.endswith("/history") else None)
    studio.page.reload()
    rows = studio.page.get_by_role("list", name="Checkpoints").get_by_role("listitem")
    for index, state in enumerate(history):
        if index % 10 == 0:
            box = studio.page.get_by_role("list", name="Checkpoints")
            box.evaluate("(box, index) => box.scrollTo(0, index * 44)", index)
        row = rows.and_(studio.page.locator(f"[aria-posinset='{index + 1}']"))
        expect(row).to_contain_text(state["checkpoint"]["checkpoint_id"][-8:])
        expect(row.locator("circle")).to_have_count(1)
    assert [one.get("before") is None for one in asked[:2]] == [True, False]
    assert all(one["limit"] == 50 and "values" not in one["select"] for one in asked)
    studio.page.get_by_role("list", name="Checkpoints").evaluate("box => box.scrollTo(0, 0)")
    # The branch has a lane of its own down to where it left.
    expect(studio.page.get_by_role("list", name="Checkpoints").locator(".dot.on1").first).to_be_visible()
    rows.first.click()
    expect(studio.page.get_by_role("complementary", name="State")).to_contain_text("attempts: 20")
    studio.page.keyboard.press("j")
    expect(rows.nth(1).get_by_role("button")).to_have_attribute("aria-pressed", "true")


def test_the_lineage_is_the_tree_that_the_api_tells_with_deleted_threads_hollow(visit, threads, api):
    root = threads.make("one", title="Refund")
    first = api.copy(root, metadata={"title": "Try A"})
    second = api.copy(first, metadata={"title": "Try B"})
    api.copy(root, metadata={"title": "Audit"})
    api.client.delete(f"/threads/{first}").raise_for_status()
    lineage = api.get(f"/threads/{second}/lineage")
    studio = visit(f"threads/{second}?view=lineage")
    rows = studio.page.get_by_role("list", name="Lineage").get_by_role("listitem")
    expect(rows).to_have_count(len(lineage["threads"]))
    for index, one in enumerate(lineage["threads"]):
        row = rows.nth(index)
        expect(row).to_contain_text((one.get("metadata") or {}).get("title") or one["thread_id"][-8:])
        expect(row.locator(".dot.hollow")).to_have_count(1 if one["deleted"] else 0)
        expect(row.locator(".dot")).to_have_attribute("cx", str(14 + 22 * one["depth"]))
        expect(row.locator(".dot.hot")).to_have_count(1 if one["thread_id"] in (root, first, second) else 0)
    expect(studio.page.locator("[aria-current=true]").filter(has_text="Try B")).to_be_visible()
    rows.filter(has_text="Audit").get_by_role("link", name="Compare").click()
    expect(studio.page.get_by_text("Both are the same")).to_be_visible()


def test_compare_shows_what_the_api_tells_of_two_threads(visit, threads, api):
    left = threads.make("lookup my lamp", title="Left")
    right = api.copy(left, metadata={"title": "Right"})
    api.say(left, "thanks")
    for text in ("lookup it again", "and again"):
        api.say(right, text)
    told = api.get(f"/threads/{left}/compare/{right}", state="true")
    studio = visit(f"threads/{left}")
    expect(studio.turns).to_have_count(4)
    studio.page.keyboard.press("=")
    studio.page.get_by_role("dialog").get_by_role("button", name="Right").click()
    picture = studio.page.get_by_role(
        "img", name=f"{told['a']['ahead']} checkpoints only left, {told['b']['ahead']} only right"
    )
    for side in ("a", "b"):
        expect(picture.locator(f".dot.{side}")).to_have_count(min(told[side]["ahead"], 8))
    differing = [one for one in told["messages"] if one["change"] != "same"]
    table = studio.page.locator(".cmp")
    expect(
        table.get_by_role("button", name=f"{len(told['messages']) - len(differing)} messages the same")
    ).to_be_visible()
    expect(table.locator("> .del")).to_have_count(len([one for one in differing if one["change"] == "removed"]))
    expect(table.locator("> .add")).to_have_count(len([one for one in differing if one["change"] == "added"]))
    expect(table.locator(".change")).to_contain_text(["attempts"])
    studio.page.keyboard.press("x")
    expect(studio.page.get_by_role("img", name=f"{told['b']['ahead']} checkpoints only left")).to_be_visible()
    other = visit(studio.page.url.partition("#/")[2])
    expect(other.page.get_by_role("img", name=f"{told['b']['ahead']} checkpoints only left")).to_be_visible()


# --- moves ---


def test_a_reset_is_undone_and_a_tag_names_a_checkpoint(visit, threads, api):
    thread_id = threads.make("one")
    api.say(thread_id, "two")
    before = api.before(thread_id, "two")
    studio = visit(f"threads/{thread_id}")
    menu(studio, 3, "Tag")
    expect(studio.page.get_by_role("dialog")).to_contain_text(
        api.get(f"/threads/{thread_id}/state")["checkpoint"]["checkpoint_id"][-8:]
    )
    studio.page.keyboard.press("Escape")
    menu(studio, 2, "Reset to before this")
    studio.reads("one", "You said: one")
    assert api.get(f"/threads/{thread_id}/state")["checkpoint"]["checkpoint_id"] == before
    studio.button("Undo").click()
    studio.reads("one", "You said: one", "two", "You said: two")
    assert api.texts(thread_id)[-1] == "You said: two"
    studio.go(f"threads/{thread_id}?view=timeline&cp={before}")
    pane = studio.page.get_by_role("complementary", name="State")
    pane.get_by_role("button", name="More for this checkpoint").click()
    studio.page.get_by_role("menuitem", name="Tag").click()
    studio.page.get_by_role("dialog").get_by_label("Name").fill("good")
    studio.page.keyboard.press("Enter")
    expect(pane.locator(".tag")).to_have_text("good")
    assert [(one["name"], one["checkpoint_id"]) for one in api.get(f"/threads/{thread_id}/tags")] == [("good", before)]
    expect(studio.page.get_by_role("listitem").filter(has_text=before[-8:])).to_contain_text("good")


# --- everywhere ---


@pytest.mark.parametrize(("scheme", "size"), [("light", (1440, 900)), ("dark", (360, 740))], ids=["wide", "narrow"])
def test_the_pictures_are_accessible_and_do_not_scroll_sideways(visit, threads, api, size, scheme):
    thread_id = threads.make("lookup my lamp")
    copy = api.copy(thread_id, metadata={"title": "Another try"})
    api.say(copy, "and now?")
    api.say(thread_id, "thanks")
    studio = visit("threads", size=size, scheme=scheme)
    for at in (
        copy,
        f"{copy}?view=timeline",
        f"{thread_id}?view=lineage",
        f"{thread_id}?view=compare&vs={copy}",
        f"{copy}?view=compare",
    ):
        studio.go(f"threads/{at}")
        expect(studio.page.locator(".bone")).to_have_count(0)
        checked(studio, at)
    studio.go(f"threads/{thread_id}")
    menu(studio, 0, "Edit and fork")
    checked(studio, "edit")


def checked(studio, at):
    expect(studio.page.locator(".talk > *").first).to_be_visible()
    assert studio.page.evaluate("document.documentElement.scrollWidth <= innerWidth"), at
    studio.page.evaluate(AXE.read_text())
    found = studio.page.evaluate("axe.run().then(result => result.violations)")
    assert [(at, one["id"], [node["html"] for node in one["nodes"]]) for one in found] == []
