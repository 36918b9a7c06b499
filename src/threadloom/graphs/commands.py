"""Converts commands of requests to LangGraph's form."""

from collections.abc import Mapping
from typing import Any

from langgraph.types import Send


def command_fields(command: Mapping[str, Any]) -> dict[str, Any]:
    """Returns the fields `update` and `goto` of a command, as `langgraph.types.Command` takes them, without empty ones.

    Args:
        command: the command of a request: `update` is an object or a list of `[key, value]` pairs, `goto` a node's name, an
            object with `node` and `input`, or a list of these.
    """
    fields: dict[str, Any] = {}
    update, goto = command.get("update"), command.get("goto")
    if update is not None:
        fields["update"] = [tuple(pair) for pair in update] if isinstance(update, list) else update
    if goto:
        fields["goto"] = [_destination(one) for one in goto] if isinstance(goto, list) else _destination(goto)
    return fields


def _destination(goto: Any) -> Any:
    return Send(goto["node"], goto["input"]) if isinstance(goto, dict) else goto
