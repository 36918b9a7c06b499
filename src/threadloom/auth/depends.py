"""Resolves FastAPI's `Depends` in the parameters of an authenticate handler, with FastAPI's own functions.

FastAPI has no public function for this. The two functions that are used are those that its own routes use.
"""

import inspect
import sys
import typing
from collections.abc import Callable, Mapping
from contextlib import AsyncExitStack
from typing import Any

from threadloom.errors import Denied


def is_dependency(handler: Callable[..., Any], parameter: inspect.Parameter) -> bool:
    """Returns whether FastAPI resolves a parameter. Always false without FastAPI."""
    if "fastapi" not in sys.modules:
        return False
    from fastapi.params import Depends

    hint = _hints(handler).get(parameter.name, parameter.annotation)
    return isinstance(parameter.default, Depends) or any(
        isinstance(one, Depends) for one in getattr(hint, "__metadata__", ())
    )


class Dependencies:
    """The parameters of a handler that FastAPI resolves."""

    def __init__(self, handler: Callable[..., Any], parameters: Mapping[str, inspect.Parameter]) -> None:
        from fastapi.dependencies.utils import get_dependant

        hints = _hints(handler)

        def standin(**_: Any) -> None:
            """Has the signature of the handler, for FastAPI to inspect."""

        standin.__signature__ = inspect.Signature(  # type: ignore[attr-defined]
            [
                parameter.replace(kind=parameter.KEYWORD_ONLY, annotation=hints.get(name, parameter.annotation))
                for name, parameter in parameters.items()
            ]
        )
        self._dependant = get_dependant(path="/", call=standin)

    async def solve(self, request: Any, stack: AsyncExitStack) -> dict[str, Any]:
        """Returns the values of the parameters.

        Args:
            request: Starlette's request, or its web socket.
            stack: receives the dependencies with a cleanup.

        Raises:
            Denied: the request does not satisfy the dependencies.
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
    """Returns a validation error of FastAPI's without the input value, which may be a credential."""
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
