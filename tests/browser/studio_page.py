"""Studio in Chromium, and what a person does there."""

import subprocess
from pathlib import Path

import httpx
from playwright.sync_api import Locator, Page, expect

from tests.browser.chat_page import PATIENCE_MS

ROOT = Path(__file__).parents[2]
AXE = ROOT / "studio" / "node_modules" / "axe-core" / "axe.min.js"
MODES = ["values", "messages-tuple", "tasks", "custom"]


def build() -> None:
    """Builds Studio, unless that was done since it changed. The Makefile knows how."""
    subprocess.run(["make", "--no-print-directory", "studio"], cwd=ROOT, check=True, timeout=900)


class Studio:
    """A person at Studio.

    Args:
        page: a new tab.
        server: the address of the server.
        at: the place within the page, behind `#/`.
    """

    def __init__(self, page: Page, server: str, at: str = "threads") -> None:
        self.page = page
        self.server = server
        self.turns = page.locator(".turn")
        self.rows = page.get_by_role("grid", name="Threads").get_by_role("row")
        page.set_default_timeout(PATIENCE_MS)
        self.go(at)

    def go(self, at: str) -> None:
        self.page.goto(f"{self.server}/studio/#/{at}")

    @property
    def thread_id(self) -> str:
        self.page.wait_for_url(lambda url: "/threads/" in url and "/threads/new" not in url)
        return self.page.url.partition("/threads/")[2].partition("?")[0]

    def row(self, title: str) -> Locator:
        return self.rows.filter(has_text=title)

    def button(self, name: str) -> Locator:
        return self.page.get_by_role("button", name=name)

    def write(self, text: str) -> None:
        """Writes into the field below the conversation and presses the enter key."""
        field = self.page.locator(".composer textarea")
        field.fill(text)
        field.press("Enter")

    def reads(self, *texts: str) -> None:
        """Waits until the conversation has just these texts."""
        expect(self.page.locator(".turn .text")).to_have_text(list(texts))

    def rests(self) -> None:
        """Waits until no run is under way."""
        expect(self.page.locator(".top .state.busy")).to_have_count(0)


class Threads:
    """The server's threads, made without the page.

    Args:
        server: the address of the server.
    """

    def __init__(self, server: str) -> None:
        self.server = server

    def make(self, text: str | None = None, *, graph: str = "support", **metadata: object) -> str:
        """Makes a thread and, with a text, runs its graph on it to the end."""
        body = {"metadata": {"graph_id": graph, **metadata}}
        thread_id: str = httpx.post(f"{self.server}/threads", json=body).raise_for_status().json()["thread_id"]
        if text is not None:
            run = {"assistant_id": graph, "input": said(text)}
            httpx.post(f"{self.server}/threads/{thread_id}/runs/wait", json=run).raise_for_status()
        return thread_id

    def begin(self, thread_id: str, text: str) -> str:
        """Starts a run as another client would; returns its id."""
        run = {"assistant_id": "support", "input": said(text), "stream_resumable": True, "stream_mode": MODES}
        run_id: str = (
            httpx.post(f"{self.server}/threads/{thread_id}/runs", json=run).raise_for_status().json()["run_id"]
        )
        return run_id

    def permit(self, thread_id: str, words: int) -> None:
        """Lets the thread's model say so many words of an answer to `slowly …`."""
        httpx.post(f"{self.server}/gate/{thread_id}/{words}").raise_for_status()

    def state(self, thread_id: str) -> dict[str, object]:
        found: dict[str, object] = httpx.get(f"{self.server}/threads/{thread_id}/state").raise_for_status().json()
        return found


def said(text: str) -> dict[str, object]:
    return {"messages": [{"role": "user", "content": text}]}
