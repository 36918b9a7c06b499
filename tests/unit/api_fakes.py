"""An app over services made for a test, and a client that calls it in memory."""

from pathlib import Path
from types import SimpleNamespace
from typing import Any, cast

import httpx
from starlette.applications import Starlette

from threadloom.api.app import HttpEntry, create_app
from threadloom.api.loopback import connect
from threadloom.config.settings import Environment, HttpSettings, Settings
from threadloom.services import Services
from threadloom.types import Thread

THREAD_ID = "01a20be8-681c-74a1-ade6-26e7b55ceb54"


class Absent:
    """A service that no test should reach."""

    def __getattr__(self, name: str) -> Any:
        async def fail(*args: Any, **kwargs: Any) -> Any:
            raise AssertionError(f"{name} was called")

        return fail


def services(**parts: Any) -> Services:
    """Services of which only `parts` exist."""
    names = ("threads", "copying", "state", "runs", "streams", "assistants", "items", "crons", "deliveries", "erasing")
    return cast(Services, SimpleNamespace(**{name: parts.get(name, Absent()) for name in names}))


def settings(*, max_body: int = 2**20, **http: Any) -> Settings:
    """Settings without graphs."""
    environment = Environment(http_max_request_body_bytes=max_body)
    return Settings(root=Path(), graphs={}, data=Path(), http=HttpSettings(**http), vars=environment)


def app(
    parts: Services, configured: Settings | None = None, user_app: Starlette | None = None, **more: Any
) -> HttpEntry:
    """The HTTP face over the services; it also answers calls from inside the process."""
    edge = create_app(parts, configured or settings(), user_app=user_app, **more)
    connect(edge, edge.prefix)
    return edge


def client(edge: HttpEntry) -> httpx.AsyncClient:
    """A client of it, that does not see the app's exceptions, only its answers."""
    transport = httpx.ASGITransport(edge, raise_app_exceptions=False)
    return httpx.AsyncClient(transport=transport, base_url="http://test")


class EchoThreads:
    """Threads that show what they were asked for."""

    def __init__(self) -> None:
        self.requests: list[Any] = []

    async def create(self, caller: Any, request: Any) -> Thread:
        self.requests.append((caller, request))
        return thread(metadata=request.metadata)


def thread(**fields: Any) -> Thread:
    """A thread record."""
    base: dict[str, Any] = {
        "thread_id": THREAD_ID,
        "created_at": 1,
        "updated_at": 2,
        "state_updated_at": 3,
        "metadata": {},
    }
    return Thread(**(base | fields))
