"""Takes the pictures of docs/studio.md (`make studio-pictures`). Runs when `THREADLOOM_PICTURES` names their folder."""

import os
from pathlib import Path

import httpx
import pytest
from playwright.sync_api import Browser, Page, expect

from tests.browser.chat_page import chromium
from tests.browser.studio_page import Studio, Threads, build
from tests.server import running

FOLDER = os.environ.get("THREADLOOM_PICTURES", "")
pytestmark = pytest.mark.skipif(not FOLDER, reason="THREADLOOM_PICTURES names no folder")

APP = Path(__file__).parents[1] / "apps" / "studio"
SIZE = {"width": 1280, "height": 800}
MOST_BYTES = 150_000
ERRANDS = (
    ("The lamp has a crack", "support"),
    ("Change the delivery address", "support"),
    ("Two charges for one order", "desk"),
    ("Voucher is not accepted", "support"),
    ("Where is order 4711?", "desk"),
    ("Return without a receipt", "support"),
    ("Is the blue one back in stock?", "support"),
    ("Order 3120 came twice", "desk"),
    ("Cancel my subscription", "support"),
)


class Shop:
    """A server with the threads of a small shop's support desk.

    Args:
        url: the address of the server.
    """

    def __init__(self, url: str) -> None:
        self.url = url
        self.threads = Threads(url)
        self.http = httpx.Client(base_url=url, timeout=60)
        for title, graph in ERRANDS:
            self.threads.make(title, graph=graph, title=title, owner="ann")
        self.threads.make("please fail", title="Refund to a closed account", owner="ann")
        for number in (1201, 1202, 1203):
            self.threads.make(f"a large refund for order {number}", graph="desk", title=f"Large refund, order {number}")
        self.refund = self.threads.make("Where is order 8812?", graph="desk", title="Lost parcel, order 8812")
        self.run(self.refund, "And when does the new parcel arrive?")
        self.gentle = self.copy(self.refund, "Lost parcel: friendlier answer")
        self.run(self.gentle, "Thank you! When does it arrive?")
        self.formal = self.copy(self.refund, "Lost parcel: formal answer")
        self.run(self.formal, "When does order 9000 arrive? Please answer in writing.")
        self.copied = self.copy(self.gentle, "Friendlier, with a voucher")
        self.run(self.copied, "Is there a voucher for the delay of order 8813?")
        self.copy(self.gentle, "Friendlier, in German")

    def run(self, thread_id: str, text: str) -> None:
        body = {"assistant_id": "desk", "input": {"messages": [{"role": "user", "content": text}]}}
        self.http.post(f"/threads/{thread_id}/runs/wait", json=body).raise_for_status()

    def copy(self, thread_id: str, title: str) -> str:
        body = {"metadata": {"title": title}}
        copied: str = self.http.post(f"/threads/{thread_id}/copy", json=body).raise_for_status().json()["thread_id"]
        return copied

    def edit(self, thread_id: str, text: str) -> None:
        """Replaces the last human message, as a fork in place."""
        turns = self.http.get(f"/threads/{thread_id}/branches").raise_for_status().json()["turns"]
        before = next(turn["before"] for turn in reversed(turns) if turn["role"] == "human")
        body = {
            "assistant_id": "desk",
            "checkpoint": {"checkpoint_id": before, "checkpoint_ns": ""},
            "input": {"messages": [{"role": "user", "content": text}]},
        }
        self.http.post(f"/threads/{thread_id}/runs/wait", json=body).raise_for_status()


@pytest.fixture(scope="module")
def shop(tmp_path_factory):
    build()
    with running(APP, tmp_path_factory.mktemp("pictures") / "data") as server:
        yield Shop(server.url)


@pytest.fixture(scope="module")
def browser():
    with chromium() as browser:
        yield browser


def opened(browser: Browser, shop: Shop, at: str, scheme: str = "light") -> Studio:
    page = browser.new_context(viewport=SIZE, color_scheme=scheme, reduced_motion="reduce").new_page()
    return Studio(page, shop.url, at)


def take(page: Page, name: str) -> None:
    """Takes a picture when nothing is loading any more."""
    expect(page.locator(".bone")).to_have_count(0)
    page.wait_for_timeout(300)
    file = Path(FOLDER) / f"{name}.png"
    file.parent.mkdir(parents=True, exist_ok=True)
    page.screenshot(path=file)
    page.context.close()
    assert file.stat().st_size <= MOST_BYTES


def test_threads(browser, shop):
    studio = opened(browser, shop, "threads")
    expect(studio.row("Lost parcel, order 8812")).to_be_visible()
    take(studio.page, "threads")


def test_a_thread(browser, shop):
    studio = opened(browser, shop, f"threads/{shop.refund}")
    expect(studio.turns.last).to_contain_text("On Thursday")
    take(studio.page, "thread")


def test_a_run(browser, shop):
    studio = opened(browser, shop, "threads/new?graph=desk", "dark")
    studio.write("slowly: where is order 4711, and who pays for it?")
    thread_id = studio.thread_id
    shop.http.patch(f"/threads/{thread_id}", json={"metadata": {"title": "Lost parcel, order 4711"}}).raise_for_status()
    shop.threads.permit(thread_id, 33)
    expect(studio.turns.filter(has_text="new parcel leaves")).to_be_visible()
    take(studio.page, "run-dark")
    shop.threads.permit(thread_id, 999)


def test_steps(browser, shop):
    studio = opened(browser, shop, f"threads/{shop.refund}?view=steps")
    studio.page.locator("button.step", has_text="tools").last.click()
    expect(studio.page.get_by_role("complementary", name="State")).to_contain_text("order")
    take(studio.page, "steps")


def test_server(browser, shop):
    studio = opened(browser, shop, "server", "dark")
    expect(studio.page.get_by_text("langgraph", exact=True).first).to_be_visible()
    take(studio.page, "server-dark")


def test_timeline(browser, shop):
    shop.edit(shop.copied, "Is there a voucher for the delay?")
    studio = opened(browser, shop, f"threads/{shop.copied}?view=timeline")
    expect(studio.page.get_by_role("tab", name="Timeline")).to_have_attribute("aria-selected", "true")
    take(studio.page, "timeline")


def test_lineage(browser, shop):
    studio = opened(browser, shop, f"threads/{shop.refund}?view=lineage")
    expect(studio.page.get_by_text("Friendlier, in German").first).to_be_visible()
    take(studio.page, "lineage")


def test_compare(browser, shop):
    studio = opened(browser, shop, f"threads/{shop.gentle}?view=compare&vs={shop.formal}")
    expect(studio.page.get_by_text("When does it arrive?").first).to_be_visible()
    take(studio.page, "compare")


def test_inbox(browser, shop):
    studio = opened(browser, shop, "inbox")
    studio.page.get_by_text("Large refund, order 1202").click()
    expect(studio.page.get_by_label("Refund", exact=True)).to_be_visible()
    take(studio.page, "inbox")
