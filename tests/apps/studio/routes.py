"""The gate that holds the model back."""

import gate
from starlette.applications import Starlette
from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import Route


async def permit(request: Request) -> Response:
    """Lets the model of a thread say so many words of each answer."""
    gate.permitted[request.path_params["thread_id"]] = request.path_params["words"]
    return Response(status_code=204)


app = Starlette(routes=[Route("/gate/{thread_id}/{words:int}", permit, methods=["POST"])])
