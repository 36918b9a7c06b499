"""Clients of the server that a test module starts: its fixture `url` says where that is."""

import shutil
from pathlib import Path

import httpx
import pytest
from langgraph_sdk import get_client

from tests.server import running
from tests.wire.javascript import SCRIPTS, packages

PROTOCOL = Path(__file__).parent.parent / "apps" / "protocol"


@pytest.fixture(scope="session")
def protocol_url(tmp_path_factory):
    """The server of `apps/protocol` that several modules share: each test works on threads of its own."""
    with running(PROTOCOL, tmp_path_factory.mktemp("protocol") / "data") as server:
        yield server.url


@pytest.fixture
def client(url):
    """The stock Python client."""
    return get_client(url=url)


@pytest.fixture
async def http(url):
    """Plain HTTP, for what the SDK hides."""
    async with httpx.AsyncClient(base_url=url, timeout=30) as session:
        yield session


@pytest.fixture(scope="session")
def js_packages(tmp_path_factory):
    """The folder that holds `node_modules` with the stock JavaScript packages."""
    return packages(tmp_path_factory.mktemp("npm"))


@pytest.fixture(scope="session")
def js_folder(js_packages, tmp_path_factory):
    """The scripts beside their packages."""
    folder = tmp_path_factory.mktemp("js")
    for script in SCRIPTS.glob("*.js*"):
        shutil.copy(script, folder / script.name)
    (folder / "node_modules").symlink_to(js_packages / "node_modules")
    return folder
