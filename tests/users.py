"""Users of `tests/apps/auth`: each token tells the handlers there what to do."""

import base64
import json
import uuid
from typing import Any

import httpx


def token(**told: Any) -> str:
    """The `Authorization` header that tells this."""
    return "Bearer " + base64.b64encode(json.dumps(told).encode()).decode()


class User:
    """Somebody who calls the server.

    Args:
        url: where it is; or `transport` to call it in memory.
        name: begins the identity, which is new each time.
        rules: what handlers do, by `resource.action`, `resource` or `*`.
        fields: what else the authenticate handler returns.
    """

    def __init__(
        self,
        url: str,
        name: str = "ann",
        *,
        rules: dict[str, Any] | None = None,
        permissions: tuple[str, ...] = (),
        identity: str | None = None,
        transport: httpx.AsyncBaseTransport | None = None,
        **fields: Any,
    ) -> None:
        self._url = url
        self._transport = transport
        self._fields = fields
        self._permissions = permissions
        self.identity = identity or f"{name}-{uuid.uuid4().hex[:12]}"
        self.label = uuid.uuid4().hex
        told = {"identity": self.identity, "rules": rules or {}, "permissions": list(permissions)}
        self.authorization = token(**told, fields={"label": self.label, **fields})
        self.headers = {"Authorization": self.authorization}
        # Reading the certificates takes long, and nothing here is asked for by https.
        self.http = httpx.AsyncClient(base_url=url, headers=self.headers, timeout=30, transport=transport, verify=False)

    def told(self, **rules: Any) -> "User":
        """The same user with other orders for the handlers; `threads__read` stands for `threads.read`."""
        spelled = {name.replace("__", "."): rule for name, rule in rules.items()}
        return User(
            self._url,
            rules=spelled,
            permissions=self._permissions,
            identity=self.identity,
            transport=self._transport,
            **self._fields,
        )

    async def asked(self) -> list[dict[str, Any]]:
        """What handlers were asked about this user since the last look."""
        found: list[dict[str, Any]] = (await self.http.get(f"/asked/{self.label}")).json()
        return found

    async def thread(self, **metadata: Any) -> str:
        response = await self.http.post("/threads", json={"metadata": metadata})
        assert response.status_code == 200, response.text
        thread_id: str = response.json()["thread_id"]
        return thread_id

    async def run(self, thread_id: str | None, graph: str = "plain", **more: Any) -> Any:
        """The output of a run."""
        path = "/runs/wait" if thread_id is None else f"/threads/{thread_id}/runs/wait"
        body = {"assistant_id": graph, "input": {"texts": ["hello"]}, **more}
        response = await self.http.post(path, json=body)
        assert response.status_code == 200, response.text
        return response.json()

    async def close(self) -> None:
        await self.http.aclose()
