"""Parses the commands of the v2 protocol and their parameters.

See docs/contract/protocols.md#commands.
"""

from typing import Any, get_args

import msgspec

from threadloom.errors import ApiError, Denied, ThreadloomError
from threadloom.ids import parse_id
from threadloom.services.requests import bounds, is_tag_name
from threadloom.services.requests.bounds import check_count
from threadloom.types import MultitaskStrategy

NOT_A_COMMAND = "Protocol commands must include an integer id and string method."
NOT_JSON = "Protocol commands must be valid JSON."

Params = dict[str, Any]


class Refused(ThreadloomError):
    """A command that was not executed. `code` is an error code of the protocol."""

    def __init__(self, code: str, message: str) -> None:
        super().__init__(message)
        self.code = code
        self.message = message


class NotACommand(Refused):
    """The message has no integer id or no method. `id` is the value of its `id`, or what the response has in its place."""

    def __init__(self, id_: Any, message: str = NOT_A_COMMAND) -> None:
        super().__init__("invalid_argument", message)
        self.id = id_


class Command(msgspec.Struct, frozen=True):
    """A command of a client."""

    id: int
    method: str
    params: Params


def read_command(body: Any) -> Command:
    """Reads a command from its JSON value.

    Raises:
        NotACommand: it has no non-negative integer id, or no method that is a text.
    """
    if not isinstance(body, dict):
        raise NotACommand(None)
    id_, method = body.get("id"), body.get("method")
    if not isinstance(id_, int) or isinstance(id_, bool) or id_ < 0 or not isinstance(method, str):
        raise NotACommand(id_)
    params = body.get("params")
    return Command(id_, method, {} if params is None else params)


def success(command: Command, result: dict[str, Any], seq: int) -> dict[str, Any]:
    """Returns the response to a command that was executed after the event with the number `seq`."""
    return {"type": "success", "id": command.id, "result": result, "meta": {"applied_through_seq": seq}}


def failure(id_: Any, refused: Refused) -> dict[str, Any]:
    """Returns the response to a command that was refused."""
    return {"type": "error", "id": id_, "error": refused.code, "message": refused.message}


def invalid(message: str) -> Refused:
    return Refused("invalid_argument", message)


def refusal(error: ApiError) -> Refused:
    """Converts an error of a service to an error of the protocol."""
    if error.status in (401, 403, 404) or (isinstance(error, Denied) and error.status < 500):
        return Refused("permission_denied", f"{error.status}: {error.detail}")
    if error.status < 429:
        return invalid(error.detail)
    return Refused("unknown_error", f"{error.status}: {error.detail}")


# --- parameters ---


def text(params: Params, name: str) -> str:
    """Returns a parameter that must be a non-empty text."""
    value = params.get(name)
    if not isinstance(value, str) or not value:
        raise invalid(f"{name} is required and must be a string")
    return value


def flag(params: Params, name: str) -> bool:
    """Returns a boolean parameter; false if it is missing."""
    value = params.get(name)
    if value is not None and not isinstance(value, bool):
        raise invalid(f"{name} must be true or false")
    return bool(value)


def strategy_of(params: Params) -> MultitaskStrategy:
    """Returns the multitask strategy: `multitask_strategy`, or `multitaskStrategy`, as older clients write it. Texts that are no
    strategy are ignored.

    Raises:
        Refused: both are given and differ.
    """
    spellings = [params[name] for name in ("multitask_strategy", "multitaskStrategy") if params.get(name) is not None]
    if len(spellings) == 2 and spellings[0] != spellings[1]:
        raise invalid("multitask_strategy and multitaskStrategy differ")
    named = spellings[0] if spellings else None
    known: tuple[MultitaskStrategy, ...] = get_args(MultitaskStrategy)
    return next((strategy for strategy in known if strategy == named), "enqueue")


def config_of(params: Params) -> Params:
    """Returns the `config`. A value of a wrong type is ignored.

    Raises:
        Refused: the checkpoint that it names is not valid.
    """
    config = params.get("config")
    if not isinstance(config, dict):
        return {}
    configurable = config.get("configurable")
    checkpoint_id = configurable.get("checkpoint_id") if isinstance(configurable, dict) else None
    if checkpoint_id is None:
        return config
    if not isinstance(checkpoint_id, str) or (parse_id(checkpoint_id) is None and not is_tag_name(checkpoint_id)):
        raise invalid(f"config.configurable.checkpoint_id: {checkpoint_id!r:.100} is not a checkpoint id")
    return config


def metadata_of(params: Params) -> Params:
    """Returns the `metadata`."""
    metadata = params.get("metadata")
    if metadata is None:
        return {}
    if not isinstance(metadata, dict):
        raise Refused("unknown_error", f"422: metadata: expected an object (got {metadata!r:.100})")
    return metadata


def namespace_of(params: Params) -> list[str]:
    """Returns the `namespace`; the root if it is missing."""
    namespace = params.get("namespace")
    if namespace is None:
        return []
    if not isinstance(namespace, list) or not all(isinstance(segment, str) for segment in namespace):
        raise invalid("namespace must be an array of strings")
    check_count(len(namespace), bounds.SEGMENTS, "namespace")
    return namespace


def answers_of(params: Params) -> Params:
    """Returns the answers of `input.respond`, by the ids of their interrupts. Of two answers to one interrupt, the last is
    used.
    """
    entries = [params]
    if "responses" in params:
        entries = params["responses"]
        if not isinstance(entries, list) or not entries:
            raise invalid("responses must be a non-empty array")
        check_count(len(entries), bounds.ANSWERS, "responses")
    answers: Params = {}
    for entry in entries:
        if not isinstance(entry, dict):
            raise invalid("responses must be an array of objects")
        namespace_of(entry)
        answers[text(entry, "interrupt_id")] = entry.get("response")
    return answers


def command_of(params: Params) -> Params:
    """Returns `update` and `goto` of `input.respond` in the form of a run's command."""
    command: Params = {}
    update = params.get("update")
    if update is not None:
        if not isinstance(update, dict):
            raise invalid("update must be an object")
        command["update"] = update
    goto = params.get("goto")
    if goto is not None:
        command["goto"] = [_destination(one) for one in goto] if isinstance(goto, list) else _destination(goto)
    return command


def _destination(goto: Any) -> Any:
    if isinstance(goto, str):
        return goto
    if isinstance(goto, dict) and isinstance(goto.get("node"), str):
        return {"node": goto["node"], "input": goto.get("input")}
    raise invalid("goto must be a node's name, {node, input}, or an array of these")
