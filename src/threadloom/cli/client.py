"""A small client of the server's public API, for the command line."""

import os
from collections.abc import Iterator, Mapping
from typing import Any, Self

import httpx

from threadloom.errors import ThreadloomError

PAGE = 100
"""States requested at once when a history is read."""

LONG_PAGE = 1000
"""Digests requested at once."""


class ServerRefusal(ThreadloomError):
    """The server cannot be reached, or it returned an error."""


class Client:
    """A client of one server, used as a context manager. It reads its credentials from THREADLOOM_AUTHORIZATION, because every
    user of the machine can see the command line.
    """

    def __init__(self, url: str) -> None:
        self._url = url.rstrip("/")
        authorization = os.environ.get("THREADLOOM_AUTHORIZATION")
        self._http = httpx.Client(timeout=60, headers={"Authorization": authorization} if authorization else None)

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *exception: object) -> None:
        self._http.close()

    def get(self, path: str, query: Mapping[str, str | None] | None = None) -> Any:
        """Returns the JSON at a path. Parameters of the query that are None are left out. Raises ServerRefusal."""
        return self._ask("GET", path, None, {name: value for name, value in (query or {}).items() if value is not None})

    def post(self, path: str, body: Any) -> Any:
        """Sends a body and returns the JSON response. Raises ServerRefusal."""
        return self._ask("POST", path, body)

    def put(self, path: str, body: Any) -> Any:
        """Puts a body and returns the JSON response. Raises ServerRefusal."""
        return self._ask("PUT", path, body)

    def delete(self, path: str) -> Any:
        """Sends a deletion and returns the JSON response, None without one. Raises ServerRefusal."""
        return self._ask("DELETE", path, None)

    def history(self, thread_id: str) -> Iterator[dict[str, Any]]:
        """Yields all states of a thread, newest first, read page by page. Raises ServerRefusal."""
        body: dict[str, Any] = {"limit": PAGE}
        while True:
            page: list[dict[str, Any]] = self.post(f"/threads/{thread_id}/history", body)
            yield from page
            if len(page) < PAGE:
                return
            body["before"] = {"checkpoint_id": page[-1]["checkpoint"]["checkpoint_id"]}

    def digests(self, thread_id: str, *, read_bytes: bool) -> Iterator[dict[str, Any]]:
        """Yields the digests of a thread's checkpoints, newest first, read page by page. Raises ServerRefusal."""
        query = {"limit": str(PAGE if read_bytes else LONG_PAGE), "bytes": str(read_bytes).lower(), "before": None}
        while True:
            found = self.get(f"/threads/{thread_id}/digests", query)
            yield from found["checkpoints"]
            if found["next"] is None:
                return
            query["before"] = found["next"]

    def _ask(self, method: str, path: str, body: Any, query: Mapping[str, str] | None = None) -> Any:
        try:
            answer = self._http.request(method, self._url + path, json=body, params=query or None)
        except (httpx.HTTPError, httpx.InvalidURL) as error:
            raise ServerRefusal(f"no answer from {self._url}: {error}") from error
        try:
            value = answer.json()
        except ValueError:
            value = None
        if answer.is_success:
            return value
        detail = value.get("detail", value) if isinstance(value, dict) else answer.text.strip()[:500]
        raise ServerRefusal(f"{self._url} answered {answer.status_code}: {detail}")
