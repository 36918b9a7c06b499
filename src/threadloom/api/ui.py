"""Routes of users' UI components: the HTML that loads a component, and the files of its bundle.

See docs/contract/protocols.md#generative-ui.
"""

import hashlib
import html
import json
import mimetypes
from collections.abc import Mapping
from typing import Annotated, Any
from urllib.parse import quote

import msgspec
from msgspec import Meta
from starlette.types import ASGIApp

from threadloom.api.http import Request, Response
from threadloom.api.routing import Operation
from threadloom.errors import NotFound
from threadloom.graphs.bundles import ENTRY, Bundle, variable
from threadloom.ids import default_assistant_id

PLAIN = b"text/plain; charset=utf-8"
NOT_FOUND: dict[int, dict[str, dict[str, Any]]] = {404: {"text/plain": {"type": "string"}}}
HTML = b"text/html; charset=utf-8"


class ComponentQuery(msgspec.Struct, kw_only=True):
    """Which component of a bundle is to be shown."""

    name: Annotated[str, Meta(min_length=1, max_length=1000)]


class UiRoutes:
    """Request handlers of the UI routes.

    Args:
        bundles: by graph. The id of a graph's default assistant is accepted in place of the graph's.
        prefix: the mount prefix.
    """

    def __init__(self, bundles: Mapping[str, Bundle], prefix: str) -> None:
        self._bundles = bundles
        self._prefix = prefix
        self._ids = {default_assistant_id(name): name for name in bundles}
        self._tags = {
            (name, file): '"' + hashlib.sha256(content).hexdigest()[:32] + '"'
            for name, bundle in bundles.items()
            for file, content in bundle.files.items()
        }

    async def component(self, request: Request) -> ASGIApp:
        asked = request.params["graph_id"]
        query = await request.read(ComponentQuery)
        name = self._ids.get(asked, asked)
        bundle = self._bundles.get(name)
        if bundle is None:
            return _plain(f"UI not found for graph '{asked:.200}'", 404)
        if bundle.missing is not None:
            return _plain(f"UI not found for graph '{asked:.200}'. {bundle.missing}", 404)
        # The page usually has another origin. A URL without the host would refer to that origin.
        base = html.escape(f"//{request.header(b'host') or ''}{self._prefix}/ui/{quote(name, safe='')}/")
        call_of_it = f'{variable(name)}.render({_literal(query.name)}, "{{{{shadowRootId}}}}")'
        onload = html.escape(call_of_it, quote=False).replace("'", "&#x27;")
        script = f"<script src=\"{base}{ENTRY}.js\" onload='{onload}'></script>"
        styles = f'<link rel="stylesheet" href="{base}{ENTRY}.css" />\n' if f"{ENTRY}.css" in bundle.files else ""
        return Response((styles + script).encode(), content_type=HTML)

    async def nothing(self, request: Request) -> ASGIApp:
        """Responds with 404: a bundle has no page of its own."""
        raise NotFound("Not Found")

    async def file(self, request: Request) -> ASGIApp:
        asked, file = request.params["graph_id"], request.params["file"]
        name = self._ids.get(asked, asked)
        if name not in self._bundles or file not in self._bundles[name].files:
            return _plain("File not found", 404)
        return self._sent(request, name, file)

    def _sent(self, request: Request, name: str, file: str) -> Response:
        tag = self._tags[name, file]
        headers = [(b"etag", tag.encode()), (b"cache-control", b"no-cache"), (b"x-content-type-options", b"nosniff")]
        if request.header(b"if-none-match") == tag:
            return Response(b"", 304, headers, None)
        return Response(self._bundles[name].files[file], 200, headers, _type(file))

    def operations(self) -> list[Operation]:
        """Returns the routes, for the router and the OpenAPI description."""

        def ui(method: Any, path: str, handler: Any, summary: str, **more: Any) -> Operation:
            return Operation(
                method=method, path=path, handler=handler, summary=summary, tag="UI", group="ui", result=Any, **more
            )

        return [
            ui(
                "POST",
                "/ui/{graph_id}",
                self.component,
                "Tell what a page needs to show a component",
                body=ComponentQuery,
                media="text/html",
                errors=(404,),
                responses=NOT_FOUND,
            ),
            ui("GET", "/ui/{graph_id}", self.nothing, "Nothing", hidden=True),
            ui(
                "GET",
                "/ui/{graph_id}/{file:path}",
                self.file,
                "Get a file of a bundle (`entrypoint.js`, `entrypoint.css` …)",
                media="text/javascript",
                errors=(404,),
                responses=NOT_FOUND,
            ),
        ]


def _plain(text: str, status: int) -> Response:
    return Response(text.encode("utf-8", "replace"), status, None, PLAIN)


def _type(file: str) -> bytes:
    kind = {"js": "text/javascript", "css": "text/css"}.get(file.rpartition(".")[2]) or mimetypes.guess_type(file)[0]
    kind = kind or "application/octet-stream"
    return (f"{kind}; charset=utf-8" if kind.startswith("text/") else kind).encode()


def _literal(text: str) -> str:
    """Returns a text as a JavaScript literal. Pages replace the first `{{shadowRootId}}` that they find, so the text must not
    contain it.
    """
    return json.dumps(text).replace("{{", "{\\u007b")
