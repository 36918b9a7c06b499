"""Studio before another server of this API: what only Threadloom has is hidden, and the rest works.

Runs when `THREADLOOM_REFERENCE_URL` names a server with the graphs of `tests/apps/studio`. A proxy puts Studio's files before
it: the content security policy lets the page ask its own origin only.
"""

import contextlib
import http.server
import os
import threading
from collections.abc import Iterator

import httpx
import pytest
from playwright.sync_api import expect

from tests.browser.chat_page import chromium, close
from tests.browser.studio_page import Studio, Threads, build
from threadloom.api.studio import DIST, POLICY

REFERENCE = os.environ.get("THREADLOOM_REFERENCE_URL", "")
pytestmark = pytest.mark.skipif(not REFERENCE, reason="THREADLOOM_REFERENCE_URL names no server")

HOP_BY_HOP = {"connection", "transfer-encoding", "content-length", "keep-alive", "host", "origin"}
TYPES = {".html": "text/html", ".js": "text/javascript", ".css": "text/css", ".svg": "image/svg+xml"}


class Proxy(http.server.BaseHTTPRequestHandler):
    """Studio's files at `/studio/`, and the reference everywhere else."""

    def log_message(self, *_: object) -> None:
        pass

    def do_GET(self) -> None:
        path = self.path.partition("?")[0]
        if not path.startswith("/studio/"):
            self.forward()
            return
        file = DIST / (path.removeprefix("/studio/") or "index.html")
        self.send_response(200 if file.is_file() else 404)
        self.send_header("content-type", TYPES.get(file.suffix, "application/octet-stream"))
        self.send_header("content-security-policy", POLICY.decode())
        self.end_headers()
        if file.is_file():
            self.wfile.write(file.read_bytes())

    def forward(self) -> None:
        body = self.rfile.read(int(self.headers.get("content-length", 0)))
        headers = {name: value for name, value in self.headers.items() if name.lower() not in HOP_BY_HOP}
        with (
            contextlib.suppress(OSError, httpx.HTTPError),
            httpx.stream(
                self.command, REFERENCE.rstrip("/") + self.path, headers=headers, content=body, timeout=None
            ) as answer,
        ):
            self.send_response(answer.status_code)
            for name, value in answer.headers.items():
                if name not in HOP_BY_HOP:
                    self.send_header(name, value)
            self.end_headers()
            for chunk in answer.iter_raw():
                self.wfile.write(chunk)
                self.wfile.flush()

    do_POST = do_PATCH = do_PUT = do_DELETE = forward


@pytest.fixture(scope="module")
def server() -> Iterator[str]:
    build()
    with http.server.ThreadingHTTPServer(("127.0.0.1", 0), Proxy) as proxy:
        proxy.daemon_threads = True
        threading.Thread(target=proxy.serve_forever, daemon=True).start()
        yield f"http://127.0.0.1:{proxy.server_address[1]}"
        proxy.shutdown()


@pytest.fixture(scope="module")
def browser():
    with chromium() as browser:
        yield browser


@pytest.fixture
def visit(server, browser, request, tmp_path):
    """Opens Studio; afterwards no script must have failed and nothing have been asked for that the reference does not have."""
    pages, broken, missing = [], [], []

    def opened(at="threads"):
        page = browser.new_context(viewport={"width": 1440, "height": 900}).new_page()
        page.on("pageerror", lambda error: broken.append(str(error)))
        page.on("response", lambda one: missing.append(one.url) if one.status >= 400 else None)
        pages.append(page)
        return Studio(page, server, at)

    yield opened
    close(pages, request, tmp_path)
    assert broken == []
    # A thread on which nothing has run has no state there either.
    assert [url for url in missing if not url.endswith("/state")] == []


@pytest.fixture
def threads(server):
    return Threads(server)


def test_threads_are_listed_searched_and_opened(visit, threads):
    threads.make("where is my reference lamp", owner="ann")
    studio = visit("threads?q=owner%3Dann")
    expect(studio.row("where is my reference lamp").first).to_be_visible()
    studio.page.get_by_label("Search").fill("reference lamp")
    expect(studio.rows.first).to_contain_text("where is my reference lamp")
    studio.rows.first.click()
    studio.reads("where is my reference lamp", "You said: where is my reference lamp")
    studio.page.get_by_role("tab", name="Steps").click()
    expect(studio.page.locator("button.step")).to_have_count(4)
    expect(studio.page.locator(".canvas svg g[role=button]")).to_have_count(3)


def test_a_run_is_followed_and_a_question_answered(visit, threads):
    studio = visit("threads/new?graph=support")
    studio.write("lookup my lamp")
    expect(studio.page.locator("details.fold").filter(has_text="lookup_order")).to_be_visible()
    expect(studio.page.locator(".turn .text").last).to_contain_text("You said:")
    studio.rests()
    studio.page.reload()
    expect(studio.page.locator(".turn .text").last).to_contain_text("You said:")

    studio.go(f"threads/{threads.make('ask first')}")
    expect(studio.page.get_by_text("Waits for an answer")).to_be_visible()
    studio.write("yes, refund it")
    expect(studio.page.locator(".turn .text").last).to_have_text("Your answer was: yes, refund it")
    studio.rests()


def test_what_the_reference_does_not_announce_is_hidden(visit, threads):
    thread_id = threads.make("hello")
    info = httpx.get(f"{REFERENCE.rstrip('/')}/info").json()
    studio = visit("server")
    expect(studio.page.get_by_text(info["version"], exact=True)).to_be_visible()
    expect(studio.page.get_by_role("region", name="Failures")).to_have_count(0)
    studio.go(f"threads/{thread_id}")
    studio.reads("hello", "You said: hello")
    for additive in ("Lineage", "Compare"):
        expect(studio.page.get_by_role("tab", name=additive)).to_have_count(0)
    studio.page.get_by_role("tab", name="Timeline").click()
    expect(studio.page.get_by_text("input", exact=True).first).to_be_visible()
