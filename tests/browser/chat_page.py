"""The chat page of this folder in Chromium, and what a person does there."""

import contextlib
import subprocess
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from urllib.parse import parse_qs, urlsplit

import httpx
import pytest
from playwright.sync_api import Browser, Locator, Page, expect, sync_playwright

FOLDER = Path(__file__).parent
CHROMIUM = "/usr/bin/chromium"
FLAGS = (
    "--no-sandbox",
    "--disable-gpu",
    "--disable-quic",
    "--disable-background-networking",
    "--disable-component-update",
    "--disable-sync",
    "--no-first-run",
)
PATIENCE_MS = 60_000
"""Far more than anything takes: it is not speed that is tested."""

FAILED = pytest.StashKey[bool]()
"""Where it is noted of a test that it failed."""

expect.set_options(timeout=PATIENCE_MS)


def build() -> None:
    """Builds the page, unless that was done since it changed. The Makefile knows how."""
    root = FOLDER.parents[1]
    subprocess.run(["make", "--no-print-directory", "tests/browser/dist/.built"], cwd=root, check=True, timeout=900)


@contextlib.contextmanager
def chromium() -> Iterator[Browser]:
    """A browser with an empty profile, closed on leaving."""
    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=CHROMIUM, args=list(FLAGS), timeout=PATIENCE_MS * 2)
        try:
            yield browser
        finally:
            browser.close()


def close(pages: list[Page], request: pytest.FixtureRequest, folder: Path) -> None:
    """Closes the tabs of a test. A picture of each is kept in a folder when the test failed."""
    for number, page in enumerate(pages):
        if request.node.stash.get(FAILED, False):
            picture = folder / f"page-{number}.png"
            page.screenshot(path=picture)
            print(f"The page is pictured in {picture}")
        page.context.close()


class ChatPage:
    """A person at the page.

    Args:
        page: a new tab.
        server: the address of the server that serves the page too.
        at: the page's path and query.
    """

    def __init__(self, page: Page, server: str, at: str) -> None:
        self.page = page
        self.server = server
        self.messages = page.locator("main ol li")
        self.texts = self.messages.locator("p")
        self.stop_button = page.get_by_role("button", name="Stop")
        self._at = at
        page.set_default_timeout(PATIENCE_MS)
        page.goto(f"{server}/pages/{at}")

    @property
    def thread_id(self) -> str:
        return parse_qs(urlsplit(self.page.url).query)["thread"][0]

    def reload(self) -> None:
        self.page.reload()

    def send(self, text: str) -> None:
        self.page.get_by_label("Message").fill(text)
        self.page.get_by_role("button", name="Send").click()

    def sees(self, *texts: str) -> None:
        """Waits until exactly these messages are shown, and no run is under way any more."""
        expect(self.texts).to_have_text(list(texts))
        expect(self.stop_button).to_have_count(0)
        expect(self.texts).to_have_text(list(texts))

    def says(self, text: str, *, answer: str) -> None:
        """Sends a message and waits for its answer, the last message."""
        self.send(text)
        expect(self.message(answer)).to_be_visible()
        expect(self.stop_button).to_have_count(0)

    def message(self, text: str) -> Locator:
        return self.messages.filter(has=self.page.get_by_text(text, exact=True))

    def edit(self, text: str, new: str) -> None:
        self.message(text).get_by_role("button", name="Edit").click()
        field = self.messages.locator("input")
        field.fill(new)
        self.page.get_by_role("button", name="Save").click()

    def regenerate(self, text: str) -> None:
        self.message(text).get_by_role("button", name="Regenerate").click()

    def permit(self, words: int) -> None:
        """Lets the thread's model say so many words of an answer to `slowly …`."""
        self.page.wait_for_url("**thread=*")
        httpx.post(f"{self.server}/gate/{self.thread_id}/{words}").raise_for_status()

    def stored(self, thread_id: str | None = None) -> list[str]:
        """The texts of the thread's messages, as the server has them."""
        state = httpx.get(f"{self.server}/threads/{thread_id or self.thread_id}/state").raise_for_status().json()
        return [_text(message["content"]) for message in state["values"].get("messages", [])]

    def until(self, holds: Callable[[], bool]) -> None:
        """Waits until something of the server's holds."""
        deadline = time.monotonic() + PATIENCE_MS / 1000
        while time.monotonic() < deadline:
            if holds():
                return
            time.sleep(0.05)
        raise AssertionError("it never came to hold")

    def newest_run(self) -> dict[str, object]:
        runs: list[dict[str, object]] = httpx.get(f"{self.server}/threads/{self.thread_id}/runs").json()
        return runs[0]


def _text(content: object) -> str:
    return content if isinstance(content, str) else "".join(block.get("text", "") for block in content)
