"""What a process shows that only executes runs: whether it is well, and figures."""

from starlette.types import ASGIApp, Receive, Scope, Send

from threadloom.api.http import Response, error_body

SHOWN = frozenset({"/ok", "/live", "/metrics"})


class ProbeOnlyApp:
    """Lets only probes through to an app; its lifespan, and calls from within the process, are whole.

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
