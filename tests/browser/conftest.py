"""Notes which tests failed, so that their pages are kept as pictures."""

import pytest

from tests.browser.chat_page import FAILED


@pytest.hookimpl(wrapper=True)
def pytest_runtest_makereport(item, call):
    report = yield
    if report.failed:
        item.stash[FAILED] = True
    return report
