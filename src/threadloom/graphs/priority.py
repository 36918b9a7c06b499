"""The user's priority function, which `priority.path` names. It sets the priority of a thread's runs."""

import importlib
import inspect
import logging
from collections.abc import Mapping, Sequence
from importlib.metadata import version
from typing import Any

from threadloom.config.settings import Settings
from threadloom.error_payloads import error_payload
from threadloom.errors import ApiError, ConfigError
from threadloom.graphs.load import load_configured
from threadloom.usercode import contained

log = logging.getLogger("threadloom.graphs")

FIRST, LAST = -5, 5
"""The most urgent priority, and the least."""

DEFAULT = 0
LONGEST_GROUP = 256
NEEDED = (0, 4, 12)
"""The release of `langgraph-sdk` since which the smallest number is the most urgent; before, it was the least urgent."""

KNOWN = ("priority", "fairness_group")


class PriorityFunction:
    """Calls the user's priority function.

    Args:
        function: takes a `PriorityContext`; sync or async.
        name: its name in messages.
    """

    def __init__(self, function: Any, name: str) -> None:
        self._function = function
        self._name = name
        self._context = importlib.import_module("langgraph_sdk.priority.types").PriorityContext

    async def __call__(
        self,
        *,
        user: Any,
        permissions: Sequence[Any],
        thread_id: str | None,
        thread_metadata: Mapping[str, Any],
        assistant_id: str,
        graph_id: str,
        assistant_metadata: Mapping[str, Any],
        run_metadata: Mapping[str, Any],
        cron_id: str | None,
    ) -> int:
        """Returns the priority of a thread whose first run is about to be created: -5 (first) to 5.

        Raises:
            ApiError: the function failed, or returned an invalid value.
        """
        context = self._context(
            user=user,
            permissions=permissions,
            thread_id=thread_id,
            thread_metadata=dict(thread_metadata),
            assistant_id=assistant_id,
            graph_id=graph_id,
            assistant_metadata=dict(assistant_metadata),
            run_metadata=dict(run_metadata),
            cron_id=cron_id,
        )
        try:
            with contained():
                answer = self._function(context)
                if inspect.isawaitable(answer):
                    answer = await answer
        except Exception as error:
            log.exception("The priority function %s failed", self._name)
            raise ApiError(f"The priority function {self._name} failed: {error_payload(error)['error']}") from error
        try:
            return priority_of(answer)
        except ValueError as error:
            log.error("The priority function %s %s", self._name, error)
            raise ApiError(f"The priority function {self._name} {error}") from error


def priority_of(answer: Any) -> int:
    """Returns the number that the function's result stands for: a mapping of settings, the number itself, or None for the
    default.

    Raises:
        ValueError: the result is invalid; the message shows it.
    """
    if answer is None:
        return DEFAULT
    if isinstance(answer, Mapping):
        if unknown := [key for key in answer if key not in KNOWN]:
            raise ValueError(f"gave the unknown key {unknown[0]!r}; known are {', '.join(KNOWN)}")
        group = answer.get("fairness_group")
        if group is not None and not (isinstance(group, str) and len(group) <= LONGEST_GROUP):
            raise ValueError(f"gave a fairness_group that is no text of at most {LONGEST_GROUP} characters")
        answer = answer.get("priority")
        if answer is None:
            return DEFAULT
    if isinstance(answer, bool) or not isinstance(answer, int):
        raise ValueError(f"gave a {type(answer).__name__} as the priority, which must be a whole number")
    if not FIRST <= answer <= LAST:
        raise ValueError(f"gave the priority {answer}, which must be from {FIRST} to {LAST}")
    return answer


def load_assign(settings: Settings) -> PriorityFunction | None:
    """Returns the function that `priority` names; None when it is not configured. Runs user code.

    Raises:
        ConfigError: it cannot be used; the message names the place and the cause.
    """
    path = settings.priority
    if path is None:
        return None
    where = f"{settings.path or 'LANGGRAPH_PRIORITY'}: priority.path"
    installed = version("langgraph-sdk")
    if tuple(int(part) for part in installed.split(".")[:3] if part.isdigit()) < NEEDED:
        needed = ".".join(map(str, NEEDED))
        raise ConfigError(f"{where}: needs langgraph-sdk {needed} or newer, and {installed} is installed")
    found = load_configured(path, settings, key="priority.path", variable="LANGGRAPH_PRIORITY")
    if isinstance(found, importlib.import_module("langgraph_sdk.priority").Priority):
        function = found._assign_handler
        if function is None:
            raise ConfigError(f"{where}: {path} has no function: register one with @….assign")
        return PriorityFunction(function, path)
    if isinstance(found, type) or not callable(found):
        kind = found.__name__ if isinstance(found, type) else type(found).__name__
        raise ConfigError(f"{where}: {path} must be a langgraph_sdk.Priority object or a function, got {kind}")
    return PriorityFunction(found, path)
