"""The stock JavaScript clients work unchanged: `@langchain/langgraph-sdk`, and `useStream` of both packages, in Node."""

from pathlib import Path

import pytest

from tests.server import running
from tests.wire.javascript import run_script

APP = Path(__file__).parent.parent / "apps" / "protocol"


@pytest.fixture(scope="module")
def url(tmp_path_factory):
    with running(APP, tmp_path_factory.mktemp("protocol_js") / "data") as server:
        yield server.url


@pytest.mark.parametrize("script", ["sdk.js", "usestream.js"])
def test_the_stock_clients_work(script, js_folder, url):
    assert run_script(script, js_folder, url) == []
