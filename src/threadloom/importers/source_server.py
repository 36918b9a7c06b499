"""Reads threads with their histories, assistants, crons and items from the public routes of a server with the same API."""

from collections.abc import AsyncIterator, Mapping
from typing import Any

import httpx

from threadloom.errors import ThreadloomError

PAGE = 100
"""Records per request."""

SECONDS = 60


class SourceRefusal(ThreadloomError):
    """The server cannot be reached, or responded with an error."""


class SourceServer:
    """A connection to one server. A context manager.

    Args:
        url: the URL of the server.
        headers: sent with every request, such as a key.
    """

    def __init__(self, url: str, headers: Mapping[str, str]) -> None:
        self._url = url.rstrip("/")
        self._http = httpx.AsyncClient(timeout=SECONDS, headers=dict(headers))

    async def __aenter__(self) -> "SourceServer":
        return self

    async def __aexit__(self, *exception: object) -> None:
        await self._http.aclose()

    async def threads(self) -> list[dict[str, Any]]:
        """Returns all threads, oldest first. Raises SourceRefusal, as all these methods."""
        return [one async for one in self._pages("/threads/search", {"sort_by": "created_at", "sort_order": "asc"})]

    async def thread(self, thread_id: str) -> dict[str, Any]:
        found: dict[str, Any] = await self._ask("GET", f"/threads/{thread_id}")
        return found

    async def states(self, thread_id: str) -> list[dict[str, Any]]:
        """Returns all states of a thread, each after its parent."""
        states: list[dict[str, Any]] = []
        body: dict[str, Any] = {"limit": PAGE}
        while True:
            page = await self._ask("POST", f"/threads/{thread_id}/history", body)
            states += page
            if len(page) < PAGE:
                return states[::-1]
            body["before"] = {"checkpoint_id": checkpoint_id_of(page[-1])}

    async def assistants(self) -> list[dict[str, Any]]:
        return [one async for one in self._pages("/assistants/search", {})]

    async def versions(self, assistant_id: str) -> list[dict[str, Any]]:
        """Returns all versions of an assistant, oldest first."""
        found = [one async for one in self._pages(f"/assistants/{assistant_id}/versions", {})]
        return sorted(found, key=lambda version: int(version["version"]))

    async def crons(self) -> list[dict[str, Any]]:
        return [one async for one in self._pages("/runs/crons/search", {})]

    async def items(self) -> AsyncIterator[dict[str, Any]]:
        seen: set[tuple[str, ...]] = set()
        async for namespace in self._namespaces():
            # A search also returns the items of namespaces below its prefix, so the same item may be returned several times.
            async for item in self._pages("/store/items/search", {"namespace_prefix": namespace}, within="items"):
                found = (*item["namespace"], item["key"])
                if found not in seen:
                    seen.add(found)
                    yield item

    async def _namespaces(self) -> AsyncIterator[list[str]]:
        offset = 0
        while True:
            answer = await self._ask("POST", "/store/namespaces", {"limit": PAGE, "offset": offset})
            page = answer["namespaces"] if isinstance(answer, dict) else answer
            for namespace in page:
                yield namespace
            if len(page) < PAGE:
                return
            offset += PAGE

    async def _pages(self, path: str, body: Mapping[str, Any], *, within: str | None = None) -> AsyncIterator[Any]:
        offset = 0
        while True:
            answer = await self._ask("POST", path, {**body, "limit": PAGE, "offset": offset})
            page = answer[within] if within is not None else answer
            for one in page:
                yield one
            if len(page) < PAGE:
                return
            offset += PAGE

    async def _ask(self, method: str, path: str, body: Any = None) -> Any:
        try:
            answer = await self._http.request(method, self._url + path, json=body)
            value = answer.json() if answer.is_success else None
        except (httpx.HTTPError, httpx.InvalidURL, ValueError) as error:
            raise SourceRefusal(f"no answer from {self._url}{path}: {error}") from error
        if not answer.is_success:
            raise SourceRefusal(f"{self._url}{path} answered {answer.status_code}: {answer.text.strip()[:500]}")
        return value


def checkpoint_id_of(state: Mapping[str, Any], field: str = "checkpoint") -> str | None:
    """Returns the id of a state's checkpoint, or that of its parent (`field="parent_checkpoint"`)."""
    found = state.get(field) or {}
    checkpoint_id: str | None = found.get("checkpoint_id")
    return checkpoint_id
