"""The HTTP app of a process that only executes runs: health and metrics."""

from starlette.types import ASGIApp, Receive, Scope, Send

from threadloom.api.http import Response, error_body

SHOWN = frozenset({"/ok", "/live", "/metrics"})


class ProbeOnlyApp:
    """Forwards only probe requests to an app. The app's lifespan, and calls from inside the process, are not restricted.

    Args:
        app: the whole app.
    """

    def __init__(self, app: ASGIApp) -> None:
        self._app = app

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] == "lifespan" or (scope["type"] == "http" and scope["path"] in SHOWN):
            await self._app(scope, receive, send)
        elif scope["type"] == "websocket":
            await send({"type": "websocket.close", "code": 1000})
        else:
            await Response(error_body("This process only executes runs: ask one that serves the API"), 404)(
                scope, receive, send
            )
