"""A chat in a real browser, on the stock React clients: streaming, reload, edit, regenerate, branches, approval, stop, copies."""

import re
from pathlib import Path

import pytest
from playwright.sync_api import expect

from tests.browser.chat_page import ChatPage, build, chromium, close
from tests.server import running

APP = Path(__file__).parent.parent / "apps" / "browser"

CLIENTS = {
    "react": "pinned-sdk/?client=react",
    "react-websocket": "pinned-sdk/?client=react&transport=websocket",
    "react-newest-sdk": "newest-sdk/?client=react",
    "sdk": "newest-sdk/?client=sdk",
}
"""`@langchain/react` 1.1 with the SDK it asks for (1.11), by either transport, and with SDK 1.15; and `useStream` of SDK 1.15,
over the classic endpoints."""

HOOK = "&fork=hook"


@pytest.fixture(scope="module")
def url(tmp_path_factory):
    build()
    with running(APP, tmp_path_factory.mktemp("browser") / "data") as server:
        yield server.url


@pytest.fixture(scope="module")
def browser():
    with chromium() as browser:
        yield browser


@pytest.fixture(params=["react", "react-newest-sdk", "sdk"])
def client(request):
    """The page's path and query with a client."""
    return CLIENTS[request.param]


def with_clients(*names):
    """A mark for tests of other clients than those that all others are passed with."""
    return pytest.mark.parametrize("client", names, indirect=True)


@pytest.fixture
def visit(url, browser, request, tmp_path):
    """Opens the page; afterwards nothing must have left the machine, and no script have failed. A picture of each page is
    kept when the test failed."""
    pages, outside, broken = [], [], []

    def check(asked):
        if not re.match(rf"({re.escape(url)}|{re.escape(url.replace('http', 'ws'))}|data:|blob:)", asked.url):
            outside.append(asked.url)

    def opened(at):
        context = browser.new_context(viewport={"width": 1000, "height": 700})
        page = context.new_page()
        page.on("request", check)
        page.on("websocket", check)
        page.on("pageerror", lambda error: broken.append(str(error)))
        pages.append(page)
        return ChatPage(page, url, at)

    yield opened
    close(pages, request, tmp_path)
    assert outside == []
    assert broken == []


@pytest.fixture
def chat(visit, client):
    return visit(client)


@with_clients(*CLIENTS)
def test_tokens_are_shown_as_they_come(chat):
    chat.send("slowly please")
    chat.permit(2)
    expect(chat.texts).to_have_text(["slowly please", "heard slowly"])
    expect(chat.stop_button).to_be_visible()
    chat.permit(9)
    chat.sees("slowly please", "heard slowly please, take 1")
    assert chat.stored() == ["slowly please", "heard slowly please, take 1"]


@with_clients(*CLIENTS)
def test_a_reload_in_the_midst_of_an_answer_changes_nothing(chat):
    chat.says("hi", answer="heard hi, take 1")
    chat.send("slowly please")
    chat.permit(2)
    so_far = ["hi", "heard hi, take 1", "slowly please", "heard hi+slowly"]
    expect(chat.texts).to_have_text(so_far)
    chat.reload()
    expect(chat.texts).to_have_text(so_far)
    expect(chat.stop_button).to_be_visible()
    chat.permit(9)
    chat.sees(*so_far[:3], "heard hi+slowly please, take 1")
    chat.reload()
    chat.sees(*so_far[:3], "heard hi+slowly please, take 1")
    chat.says("bye", answer="heard hi+slowly please+bye, take 1")
    chat.sees(*so_far[:3], "heard hi+slowly please, take 1", "bye", "heard hi+slowly please+bye, take 1")


def test_an_edited_message_leaves_out_what_came_after_it(chat):
    chat.says("one", answer="heard one, take 1")
    chat.says("two", answer="heard one+two, take 1")
    chat.says("three", answer="heard one+two+three, take 1")
    chat.edit("two", "zwei")
    branch = ["one", "heard one, take 1", "zwei", "heard one+zwei, take 1"]
    chat.sees(*branch)
    assert chat.stored() == branch
    chat.says("four", answer="heard one+zwei+four, take 1")
    branch += ["four", "heard one+zwei+four, take 1"]
    chat.sees(*branch)
    chat.reload()
    chat.sees(*branch)
    chat.says("five", answer="heard one+zwei+four+five, take 1")
    branch += ["five", "heard one+zwei+four+five, take 1"]
    chat.sees(*branch)
    chat.edit("one", "eins")
    chat.sees("eins", "heard eins, take 1")
    chat.reload()
    chat.sees("eins", "heard eins, take 1")
    assert chat.stored() == ["eins", "heard eins, take 1"]


@with_clients("react", "react-websocket", "react-newest-sdk")
def test_the_hook_knows_where_to_edit_the_newest_question(visit, client):
    chat = visit(client + HOOK)
    chat.says("one", answer="heard one, take 1")
    chat.edit("one", "eins")
    chat.sees("eins", "heard eins, take 1")
    chat.says("two", answer="heard eins+two, take 1")
    chat.edit("two", "zwei")
    chat.sees("eins", "heard eins, take 1", "zwei", "heard eins+zwei, take 1")
    chat.regenerate("heard eins+zwei, take 1")
    chat.sees("eins", "heard eins, take 1", "zwei", "heard eins+zwei, take 2")
    chat.edit("zwei", "deux")
    chat.sees("eins", "heard eins, take 1", "deux", "heard eins+deux, take 1")
    chat.says("delete", answer="delete")
    chat.page.get_by_role("button", name="Approve").click()
    chat.sees("eins", "heard eins, take 1", "deux", "heard eins+deux, take 1", "delete", "deleted: yes")
    chat.edit("delete", "drei")
    chat.sees("eins", "heard eins, take 1", "deux", "heard eins+deux, take 1", "drei", "heard eins+deux+drei, take 1")


@with_clients("react-newest-sdk")
def test_the_newest_sdk_keeps_where_to_edit_every_message(visit, client):
    chat = visit(client + HOOK)
    chat.says("one", answer="heard one, take 1")
    chat.says("delete", answer="delete")
    chat.page.get_by_role("button", name="Approve").click()
    chat.sees("one", "heard one, take 1", "delete", "deleted: yes")
    chat.says("two", answer="heard one+delete+two, take 1")
    chat.regenerate("deleted: yes")
    chat.page.get_by_role("button", name="Approve").click()
    chat.sees("one", "heard one, take 1", "delete", "deleted: yes")
    chat.regenerate("heard one, take 1")
    chat.sees("one", "heard one, take 2")
    chat.edit("one", "eins")
    chat.sees("eins", "heard eins, take 1")


def test_another_answer(chat):
    chat.says("one", answer="heard one, take 1")
    chat.says("two", answer="heard one+two, take 1")
    chat.regenerate("heard one+two, take 1")
    chat.sees("one", "heard one, take 1", "two", "heard one+two, take 2")
    chat.regenerate("heard one, take 1")
    chat.sees("one", "heard one, take 2")
    chat.says("three", answer="heard one+three, take 1")
    chat.sees("one", "heard one, take 2", "three", "heard one+three, take 1")


@with_clients("sdk")
def test_branches_are_switched(chat):
    chat.says("one", answer="heard one, take 1")
    chat.says("two", answer="heard one+two, take 1")
    chat.edit("two", "zwei")
    chat.sees("one", "heard one, take 1", "zwei", "heard one+zwei, take 1")
    versions = chat.messages.nth(2).locator("nav")
    expect(versions.locator("span")).to_have_text("2/2")
    versions.get_by_text("‹").click()
    chat.sees("one", "heard one, take 1", "two", "heard one+two, take 1")
    expect(versions.locator("span")).to_have_text("1/2")
    chat.says("three", answer="heard one+two+three, take 1")
    chat.sees("one", "heard one, take 1", "two", "heard one+two, take 1", "three", "heard one+two+three, take 1")
    versions.get_by_text("›").click()
    chat.sees("one", "heard one, take 1", "zwei", "heard one+zwei, take 1")


@with_clients(*CLIENTS)
def test_a_question_is_shown_and_answered(chat):
    chat.send("delete")
    question = chat.page.get_by_role("alert")
    expect(question).to_contain_text("Delete it?")
    chat.sees("delete")
    chat.reload()
    expect(question).to_contain_text("Delete it?")
    question.get_by_role("button", name="Approve").click()
    chat.sees("delete", "deleted: yes")
    expect(question).to_have_count(0)
    chat.says("thanks", answer="heard delete+thanks, take 1")


@with_clients(*CLIENTS)
def test_stop(chat, client):
    chat.send("slowly please")
    chat.permit(2)
    expect(chat.texts.last).to_have_text("heard slowly")
    chat.stop_button.click()
    expect(chat.stop_button).to_have_count(0)
    chat.until(lambda: chat.newest_run()["status"] == "interrupted")
    assert chat.stored() == ["slowly please"]
    chat.reload()
    chat.says("one", answer="heard slowly please+one, take 1")
    # SDK 1.11, within `@langchain/react`, goes on showing what a stopped run had said.
    left = ["heard slowly"] if "pinned-sdk" in client else []
    expect(chat.texts).to_have_count(3 + len(left))
    assert sorted(chat.texts.all_inner_texts()) == sorted([*chat.stored(), *left])
    assert chat.stored() == ["slowly please", "one", "heard slowly please+one, take 1"]


@with_clients("react-newest-sdk", "sdk")
def test_stop_of_a_run_that_an_answer_began(chat):
    chat.send("slowly delete")
    chat.permit(2)
    chat.page.get_by_role("button", name="Approve").click()
    expect(chat.texts.last).to_have_text("heard slowly")
    chat.stop_button.click()
    expect(chat.stop_button).to_have_count(0)
    chat.until(lambda: chat.newest_run()["status"] == "interrupted")
    assert chat.stored() == ["slowly delete", "deleted: yes"]


@with_clients("sdk")
def test_stop_after_a_reload(chat):
    chat.send("slowly please")
    chat.permit(2)
    expect(chat.texts.last).to_have_text("heard slowly")
    chat.reload()
    expect(chat.texts.last).to_have_text("heard slowly")
    chat.stop_button.click()
    chat.until(lambda: chat.newest_run()["status"] == "interrupted")
    chat.sees("slowly please")


@with_clients("react-newest-sdk")
def test_a_question_that_another_tab_answers_is_asked_no_more(visit, client):
    first = visit(client)
    first.send("delete")
    first.sees("delete")
    second = visit(f"{client}&thread={first.thread_id}")
    asked = [tab.page.get_by_role("alert") for tab in (first, second)]
    for question in asked:
        expect(question).to_contain_text("Delete it?")
    asked[1].get_by_role("button", name="Approve").click()
    for tab, question in zip((first, second), asked, strict=True):
        tab.sees("delete", "deleted: yes")
        expect(question).to_have_count(0)


@with_clients("react", "sdk")
def test_the_list_of_threads(chat):
    chat.says("first thing", answer="heard first thing, take 1")
    first = chat.thread_id
    chat.page.get_by_role("button", name="New").click()
    chat.sees()
    chat.says("second thing", answer="heard second thing, take 1")
    assert chat.thread_id != first
    entry = chat.page.locator(f'[data-thread="{first}"]')
    expect(entry).to_have_text("first thing idle")
    entry.get_by_role("button").click()
    chat.sees("first thing", "heard first thing, take 1")
    chat.says("more", answer="heard first thing+more, take 1")
    assert chat.thread_id == first


@with_clients("react", "sdk")
def test_a_copy_goes_on_alone(chat):
    chat.says("one", answer="heard one, take 1")
    chat.says("two", answer="heard one+two, take 1")
    source = chat.thread_id
    chat.page.get_by_role("button", name="Copy").click()
    chat.page.wait_for_url(lambda url: source not in url)
    both = ["one", "heard one, take 1", "two", "heard one+two, take 1"]
    chat.sees(*both)
    chat.says("three", answer="heard one+two+three, take 1")
    chat.edit("two", "zwei")
    chat.sees("one", "heard one, take 1", "zwei", "heard one+zwei, take 1")
    assert chat.stored(source) == both
    chat.page.locator(f'[data-thread="{source}"]').get_by_role("button").click()
    chat.sees(*both)
    chat.says("four", answer="heard one+two+four, take 1")
    chat.sees(*both, "four", "heard one+two+four, take 1")
