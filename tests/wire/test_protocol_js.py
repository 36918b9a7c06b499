"""The stock JavaScript clients work unchanged: `@langchain/langgraph-sdk`, and `useStream` of both packages, in Node."""

import pytest

from tests.wire.javascript import run_script


@pytest.fixture(scope="module")
def url(protocol_url):
    return protocol_url


@pytest.mark.parametrize("script", ["sdk.js", "newest.js", "usestream.js"])
def test_the_stock_clients_work(script, js_folder, url):
    assert run_script(script, js_folder, url) == []
