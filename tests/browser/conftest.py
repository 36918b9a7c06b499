"""The server, the browser and the tabs of Studio's tests. Notes which tests failed, so that their pages are kept as pictures."""

import re
from pathlib import Path

import pytest

from tests.browser.chat_page import FAILED, chromium, close
from tests.browser.studio_page import Studio, Threads, build
from tests.server import running

APP = Path(__file__).parents[1] / "apps" / "studio"


@pytest.hookimpl(wrapper=True)
def pytest_runtest_makereport(item, call):
    report = yield
    if report.failed:
        item.stash[FAILED] = True
    return report


@pytest.fixture(scope="module")
def server(tmp_path_factory):
    build()
    with running(APP, tmp_path_factory.mktemp("studio") / "data") as server:
        yield server


@pytest.fixture(scope="module")
def threads(server):
    return Threads(server.url)


@pytest.fixture(scope="module")
def browser():
    with chromium() as browser:
        yield browser


@pytest.fixture
def visit(server, browser, request, tmp_path):
    """Opens Studio; afterwards no request must have left the server, no script have failed, and nothing have been refused by the
    content security policy. A picture of each page is kept when the test failed."""
    pages, outside, broken = [], [], []

    def note(message):
        if message.type == "error" and "Failed to load resource" not in message.text:
            broken.append(message.text)

    def opened(at="threads", *, size=(1440, 900), scheme="light"):
        context = browser.new_context(viewport={"width": size[0], "height": size[1]}, color_scheme=scheme)
        page = context.new_page()
        ours = re.compile(rf"({re.escape(server.url)}/|data:|blob:{re.escape(server.url)})")
        page.on("request", lambda asked: None if ours.match(asked.url) else outside.append(asked.url))
        page.on("websocket", lambda asked: outside.append(asked.url))
        page.on("pageerror", lambda error: broken.append(str(error)))
        page.on("console", note)
        pages.append(page)
        return Studio(page, server.url, at)

    yield opened
    close(pages, request, tmp_path)
    assert outside == []
    assert broken == []
