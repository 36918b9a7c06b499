"""FastAPI's `Depends` in the parameters of an authenticate handler, solved by FastAPI itself.

FastAPI has no public call for this; the two functions used are those that its own routes are made of.
"""

import inspect
import sys
import typing
from collections.abc import Callable, Mapping
from contextlib import AsyncExitStack
from typing import Any

from threadloom.errors import Denied


def is_dependency(handler: Callable[..., Any], parameter: inspect.Parameter) -> bool:
    """Whether a parameter is one that FastAPI solves. Without FastAPI there is none."""
    if "fastapi" not in sys.modules:
        return False
    from fastapi.params import Depends

    hint = _hints(handler).get(parameter.name, parameter.annotation)
    return isinstance(parameter.default, Depends) or any(
        isinstance(one, Depends) for one in getattr(hint, "__metadata__", ())
    )


class Dependencies:
    """Those parameters of a handler that FastAPI solves."""

    def __init__(self, handler: Callable[..., Any], parameters: Mapping[str, inspect.Parameter]) -> None:
        from fastapi.dependencies.utils import get_dependant

        hints = _hints(handler)

        def standin(**_: Any) -> None:
            """Has the signature of the handler, as far as FastAPI is concerned."""

        standin.__signature__ = inspect.Signature(  # type: ignore[attr-defined]
            [
                parameter.replace(kind=parameter.KEYWORD_ONLY, annotation=hints.get(name, parameter.annotation))
                for name, parameter in parameters.items()
            ]
        )
        self._dependant = get_dependant(path="/", call=standin)

    async def solve(self, request: Any, stack: AsyncExitStack) -> dict[str, Any]:
        """The values of the parameters.

        Args:
            request: Starlette's request, or its web socket.
            stack: where dependencies that are to be left again are entered.

        Raises:
            Denied: the request does not fit what the dependencies ask of it.
        """
        from fastapi.dependencies.utils import solve_dependencies

        scope = {**request.scope, "fastapi_inner_astack": stack, "fastapi_function_astack": stack}
        seen = type(request)(scope, request.receive) if request.scope["type"] == "http" else request
        seen.scope.update(scope)
        solved = await solve_dependencies(
            request=seen, dependant=self._dependant, async_exit_stack=stack, embed_body_fields=False
        )
        if solved.errors:
            raise Denied(422, [_shown(error) for error in solved.errors])
        return dict(solved.values)


def _shown(error: Any) -> Any:
    """A fault that FastAPI found, without what was given: that may be a credential."""
    return (
        {key: error[key] for key in ("type", "loc", "msg") if key in error} if isinstance(error, dict) else str(error)
    )


def _hints(handler: Callable[..., Any]) -> dict[str, Any]:
    function = handler if inspect.isfunction(handler) or inspect.ismethod(handler) else type(handler).__call__
    try:
        return typing.get_type_hints(function, include_extras=True)
    except Exception:
        # An annotation that cannot be resolved (a name imported for type checkers only) names no dependency.
        return {}
