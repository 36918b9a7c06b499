"""Clients of the server that a test module starts: its fixture `url` says where that is."""

import httpx
import pytest
from langgraph_sdk import get_client


@pytest.fixture
def client(url):
    """The stock Python client."""
    return get_client(url=url)


@pytest.fixture
async def http(url):
    """Plain HTTP, for what the SDK hides."""
    async with httpx.AsyncClient(base_url=url, timeout=30) as session:
        yield session
