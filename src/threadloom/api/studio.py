"""Studio: the page at `/studio` that shows threads, runs and graphs. Its built files are in `threadloom/studio/dist`.

The files hold no data and need no authentication. The page reads data through the API, with the caller's credentials.
See docs/studio.md.
"""

import asyncio
import hashlib
import mimetypes
from pathlib import Path

import msgspec
from starlette.types import ASGIApp

import threadloom
from threadloom.api.http import RawHeaders, Request, Response
from threadloom.api.routing import Handler, Operation
from threadloom.errors import NotFound

DIST = Path(threadloom.__file__).parent / "studio" / "dist"
"""What `make studio` writes."""

TAG = "Studio"
"""Marks the routes, which are public."""

INDEX = "index.html"
HASHED = "assets/"
"""Files below this folder have a digest of their content in their names."""

POLICY = (
    b"default-src 'none'; script-src 'self'; style-src 'self'; connect-src 'self'; img-src 'self' data: blob:; "
    b"worker-src 'self'; base-uri 'none'; form-action 'none'; frame-ancestors 'none'"
)
"""Content security policy of the page: it runs and loads only what this server sends."""

HEADERS = (
    (b"content-security-policy", POLICY),
    (b"x-content-type-options", b"nosniff"),
    (b"referrer-policy", b"no-referrer"),
    (b"vary", b"Accept-Encoding"),
)

NOT_BUILT = b"""<!doctype html>
<html lang="en">
<meta charset="utf-8">
<title>Studio is not built</title>
<h1>Studio is not built</h1>
<p>This is a source checkout without Studio's built files. With Node and npm installed, run</p>
<pre>make studio</pre>
<p>in the checkout, then reload this page. Packages of Threadloom carry the built files.</p>
<p>The API works without Studio.</p>
</html>
"""


class StudioFile(msgspec.Struct, frozen=True):
    """A built file, its compressed form if the build made one, and its entity tag."""

    content: bytes
    gzip: bytes | None
    tag: bytes
    content_type: bytes


class StudioRoutes:
    """Request handlers of Studio.

    Args:
        folder: the built files; None: the package's own. They are read at the first request.
    """

    def __init__(self, folder: Path | None = None) -> None:
        self._folder = folder or DIST
        self._files: dict[str, StudioFile] | None = None
        self._reading = asyncio.Lock()

    async def index(self, request: Request) -> ASGIApp:
        files = await self._read()
        if INDEX not in files:
            return Response(NOT_BUILT, 503, [*HEADERS, (b"cache-control", b"no-store")], b"text/html; charset=utf-8")
        return _sent(request, files[INDEX], b"no-cache")

    async def file(self, request: Request) -> ASGIApp:
        name = request.params["file"]
        files = await self._read()
        if name not in files:
            raise NotFound("Not Found")
        return _sent(
            request, files[name], b"public, max-age=31536000, immutable" if name.startswith(HASHED) else b"no-cache"
        )

    async def folder(self, request: Request) -> ASGIApp:
        """Redirects to the page's folder, so that its relative addresses resolve."""
        return Response(b"", 308, [(b"location", b"studio/")], None)

    async def _read(self) -> dict[str, StudioFile]:
        async with self._reading:
            if not self._files:  # a build may be made while the server runs
                self._files = await asyncio.to_thread(_files_of, self._folder)
            return self._files

    def operations(self) -> list[Operation]:
        """Returns the routes. They are pages, no part of the described interface."""

        def page(path: str, handler: Handler, summary: str) -> Operation:
            return Operation(
                method="GET",
                path=path,
                handler=handler,
                summary=summary,
                tag=TAG,
                group="meta",
                media="text/html",
                hidden=True,
            )

        return [
            page("/studio", self.folder, "Redirect to Studio"),
            page("/studio/", self.index, "Show Studio"),
            page("/studio/{file:path}", self.file, "Get a file of Studio"),
        ]


def page_from_root(scope_path: str, prefix: str) -> str:
    """Returns Studio's address relative to a request for `/`: to the mount prefix, with or without a slash, or to the root."""
    if scope_path == prefix and prefix:
        return f"{prefix.rpartition('/')[2]}/studio/"
    if scope_path == f"{prefix}/":
        return "studio/"
    return f"{prefix.lstrip('/')}/studio/"


def _files_of(folder: Path) -> dict[str, StudioFile]:
    """Reads all files of a folder; returns them by their paths within it."""
    files = {path.relative_to(folder).as_posix(): path.read_bytes() for path in folder.rglob("*") if path.is_file()}
    return {
        name: StudioFile(
            content,
            files.get(f"{name}.gz"),
            b'"' + hashlib.sha256(content).hexdigest()[:32].encode() + b'"',
            _content_type(name),
        )
        for name, content in files.items()
        if not name.endswith(".gz")
    }


def _content_type(name: str) -> bytes:
    kind = {"js": "text/javascript", "css": "text/css"}.get(name.rpartition(".")[2]) or mimetypes.guess_type(name)[0]
    kind = kind or "application/octet-stream"
    return (f"{kind}; charset=utf-8" if kind.startswith("text/") else kind).encode()


def _sent(request: Request, file: StudioFile, cache: bytes) -> Response:
    headers: RawHeaders = [*HEADERS, (b"etag", file.tag), (b"cache-control", cache)]
    if request.header(b"if-none-match") == file.tag.decode():
        return Response(b"", 304, headers, None)
    if file.gzip is not None and "gzip" in (request.header(b"accept-encoding") or ""):
        return Response(file.gzip, 200, [*headers, (b"content-encoding", b"gzip")], file.content_type)
    return Response(file.content, 200, headers, file.content_type)
