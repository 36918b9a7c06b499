"""Sends one POST request to a webhook: signed, to an address that the policy permits, without following redirects."""

import asyncio
import base64
import hashlib
import hmac
from collections.abc import Callable, Mapping, Sequence
from typing import Any

import httpx

from threadloom.services.webhooks.policy import WebhookPolicy

TIMEOUT = 10.0
"""Timeout of one attempt, in seconds."""


class Poster:
    """Posts JSON to webhooks. Call `apply_settings` before the first request.

    Args:
        app: returns the server's own ASGI app, for relative URLs. Called at the first relative URL.
    """

    def __init__(self, app: Callable[[], Any] = lambda: None) -> None:
        self._app = app
        self._clients: dict[bool, httpx.AsyncClient] = {}

    def apply_settings(
        self, policy: WebhookPolicy, headers: Mapping[str, str], secrets: Sequence[str], prefix: str
    ) -> None:
        """Replaces the settings, from the next request on.

        Args:
            headers: added to every request.
            secrets: each signs every request (standardwebhooks.com).
            prefix: the mount prefix, which is put before relative URLs.
        """
        self._policy = policy
        self._headers = headers
        self._keys = [_key(secret) for secret in secrets]
        self._prefix = prefix.encode()

    async def close(self) -> None:
        for client in self._clients.values():
            await client.aclose()
        self._clients.clear()

    async def post(self, url: str, body: bytes, *, message: str, seconds: int) -> int:
        """Posts once. Returns the status of the response.

        Args:
            seconds: the current time, in seconds since 1970.

        Raises:
            Invalid: the policy does not permit the URL, as it resolves now.
            httpx.HTTPError, OSError, TimeoutError: there was no response.
        """
        async with asyncio.timeout(TIMEOUT):
            return await self._post(url, body, self._signed(body, message, seconds))

    async def _post(self, url: str, body: bytes, signed: Mapping[str, str]) -> int:
        target = await self._policy.resolve(url)
        headers = httpx.Headers(self._headers)
        headers.update({"Content-Type": "application/json", **signed})
        if not target.addresses:
            place = target.url.copy_with(raw_path=self._prefix + target.url.raw_path)
            return (await self._client(inside=True).post(place, content=body, headers=headers)).status_code
        # Connects to an address that was checked, even if the name resolves to another one a moment later.
        headers["Host"] = target.url.netloc.decode()
        extensions = {"sni_hostname": target.url.raw_host.decode()}
        failure: httpx.ConnectError | None = None
        for address in target.addresses:
            place = target.url.copy_with(host=address)
            try:
                post = self._client(inside=False).stream
                async with post("POST", place, content=body, headers=headers, extensions=extensions) as answer:
                    return answer.status_code
            except httpx.ConnectError as error:
                failure = error
        assert failure is not None
        raise failure

    def _client(self, inside: bool) -> httpx.AsyncClient:
        """Returns the HTTP client. It is created on first use, because loading the certificates is slow. It follows no redirects
        and uses no proxy.
        """
        if inside not in self._clients:
            self._clients[inside] = (
                httpx.AsyncClient(transport=httpx.ASGITransport(self._app(), raise_app_exceptions=False))
                if inside
                else httpx.AsyncClient(verify=httpx.create_ssl_context(), trust_env=False, timeout=TIMEOUT)
            )
        return self._clients[inside]

    def _signed(self, body: bytes, message: str, seconds: int) -> dict[str, str]:
        """Returns the headers with which a receiver recognizes a repeated delivery and verifies its origin."""
        headers = {"Webhook-Id": message, "Webhook-Timestamp": str(seconds)}
        if self._keys:
            content = f"{message}.{seconds}.".encode() + body
            digests = [hmac.digest(key, content, hashlib.sha256) for key in self._keys]
            headers["Webhook-Signature"] = " ".join("v1," + base64.b64encode(digest).decode() for digest in digests)
        return headers


def _key(secret: str) -> bytes:
    """Returns the key of a secret: the base64 text after `whsec_`, else the text itself."""
    return base64.b64decode(secret.removeprefix("whsec_")) if secret.startswith("whsec_") else secret.encode()
