"""`threadloom threads map|lineage|compare|reset|promote|tag`: the history of a thread and its copies, over the public API."""

import argparse
import json
import os
import sys
from typing import TYPE_CHECKING, Any

from threadloom.cli.options import add_verb

if TYPE_CHECKING:
    from collections.abc import Callable

    from threadloom.cli.client import Client
    from threadloom.cli.drawing import Paint
    from threadloom.cli.options import Verbs

MOST_TIPS = 20
"""How many branches of a map are shown with what their messages say. It takes a request for each."""


def add(ways: "Verbs") -> None:
    mapping = add_verb(
        ways,
        "map",
        help="draw the messages of a thread on all its branches, with the checkpoint after each",
        example="threadloom threads map 0199c7e2-…",
    )
    mapping.add_argument("thread", help="the id of the thread")
    mapping.add_argument("--ids", action="store_true", help="show the ids of messages and not what they say")
    mapping.set_defaults(run=run_map)

    tree = add_verb(
        ways,
        "lineage",
        help="draw the tree of copies that a thread belongs to",
        example="threadloom threads lineage 0199c7e2-…",
    )
    tree.add_argument("thread", help="the id of the thread")
    tree.set_defaults(run=run_lineage)

    comparing = add_verb(
        ways,
        "compare",
        help="show where two threads part, and how their states differ",
        example="threadloom threads compare 0199c7e2-… 0199c7e3-…",
    )
    comparing.add_argument("first", help="the id of a thread")
    comparing.add_argument("second", help="the id of another, or the same")
    comparing.add_argument(
        "--first-at", metavar="CHECKPOINT", help="a checkpoint or tag of the first (default: newest)"
    )
    comparing.add_argument("--second-at", metavar="CHECKPOINT", help="the same of the second")
    comparing.add_argument("--no-state", action="store_true", help="compare the histories only")
    comparing.set_defaults(run=run_compare)

    resetting = add_verb(
        ways,
        "reset",
        help="move the head of a thread to a checkpoint; nothing is deleted",
        example="threadloom threads reset 0199c7e2-… 1f0c1d2e-… && threadloom threads reset 0199c7e2-… --undo",
    )
    resetting.add_argument("thread", help="the id of the thread")
    resetting.add_argument("checkpoint", nargs="?", help="a checkpoint or tag")
    resetting.add_argument("--undo", action="store_true", help="move it back to where it was before its last move")
    resetting.set_defaults(run=run_reset)

    promoting = add_verb(
        ways,
        "promote",
        help="move the head of a thread to the head of a copy",
        example="threadloom threads promote 0199c7e2-… 0199c7e3-…",
    )
    promoting.add_argument("thread", help="the id of the thread")
    promoting.add_argument("copy", help="the id of a thread of the same tree of copies")
    promoting.set_defaults(run=run_promote)

    tagging = add_verb(
        ways,
        "tag",
        help="name a checkpoint, or list the names; a named checkpoint is not pruned",
        example="threadloom threads tag 0199c7e2-… ready-to-build",
    )
    tagging.add_argument("thread", help="the id of the thread")
    tagging.add_argument("name", nargs="?", help="the name; without it, all tags are listed")
    tagging.add_argument("checkpoint", nargs="?", help="the checkpoint (default: the newest)")
    tagging.add_argument("--move", action="store_true", help="move the tag if it exists")
    tagging.add_argument("--delete", action="store_true", help="remove the tag; the checkpoint stays")
    tagging.set_defaults(run=run_tag)

    for way in (mapping, tree, comparing, resetting, promoting, tagging):
        way.add_argument("--json", action="store_true", help="print the response as JSON")


def run_map(given: argparse.Namespace) -> int:
    from threadloom.cli import drawing
    from threadloom.cli.client import Client

    with Client(given.url) as client:
        answer = client.get(f"/threads/{given.thread}/branches")
        texts = {} if given.ids or given.json else _texts(client, given.thread, answer["turns"])
    return _show(given, answer, lambda paint: drawing.branches(answer, texts, paint) or ["The thread is empty."])


def _texts(client: "Client", thread_id: str, turns: list[dict[str, Any]]) -> dict[str, str]:
    """Returns what messages say, by their ids: those of the newest branches."""
    from threadloom.cli.drawing import message_text

    followed = {turn["parent"] for turn in turns}
    tips = [turn["after"] for number, turn in enumerate(turns) if number not in followed]
    texts: dict[str, str] = {}
    for checkpoint_id in tips[-MOST_TIPS:]:
        values = client.get(f"/threads/{thread_id}/state/{checkpoint_id}")["values"]
        messages = values.get("messages") if isinstance(values, dict) else None
        for message in messages if isinstance(messages, list) else ():
            if isinstance(message, dict) and message.get("id"):
                texts[message["id"]] = message_text(message)
    return texts


def run_lineage(given: argparse.Namespace) -> int:
    from threadloom.cli import drawing
    from threadloom.cli.client import Client

    with Client(given.url) as client:
        answer = client.get(f"/threads/{given.thread}/lineage")
    return _show(given, answer, lambda paint: drawing.lineage(answer, given.thread, paint))


def run_compare(given: argparse.Namespace) -> int:
    from threadloom.cli import drawing
    from threadloom.cli.client import Client

    query = {
        "state": None if given.no_state else "true",
        "a_checkpoint": given.first_at,
        "b_checkpoint": given.second_at,
    }
    with Client(given.url) as client:
        answer = client.get(f"/threads/{given.first}/compare/{given.second}", query)
    _show(given, answer, lambda paint: drawing.comparison(answer, paint))
    return 0 if answer["equal"] else 1


def run_reset(given: argparse.Namespace) -> int:
    from threadloom.cli.client import Client
    from threadloom.errors import ConfigError

    if given.undo == (given.checkpoint is not None):
        raise ConfigError("give either a checkpoint or --undo")
    body = {"undo": True} if given.undo else {"checkpoint_id": given.checkpoint}
    with Client(given.url) as client:
        answer = client.post(f"/threads/{given.thread}/reset", body)
    return _show(given, answer, lambda _: [_moved(answer)])


def run_promote(given: argparse.Namespace) -> int:
    from threadloom.cli.client import Client

    with Client(given.url) as client:
        answer = client.post(f"/threads/{given.thread}/promote", {"thread_id": given.copy})
    return _show(given, answer, lambda _: [_moved(answer)])


def _moved(answer: dict[str, Any]) -> str:
    move = answer["moved"]
    return f"{move['from'] or '(start)'} -> {move['to'] or '(start)'}"


def run_tag(given: argparse.Namespace) -> int:
    from threadloom.cli.client import Client
    from threadloom.errors import ConfigError

    path = f"/threads/{given.thread}/tags"
    if given.name is None:
        if given.delete or given.move:
            raise ConfigError("name the tag")
        with Client(given.url) as client:
            found = client.get(path)
        return _show(given, found, lambda _: [f"{tag['name']}  {tag['checkpoint_id']}" for tag in found])
    with Client(given.url) as client:
        if given.delete:
            client.delete(f"{path}/{given.name}")
            return 0
        options = {"checkpoint_id": given.checkpoint, "if_exists": "move" if given.move else None}
        answer = client.put(
            f"{path}/{given.name}", {name: value for name, value in options.items() if value is not None}
        )
    return _show(given, answer, lambda _: [f"{answer['name']}  {answer['checkpoint_id']}"])


def _show(given: argparse.Namespace, answer: Any, drawn: "Callable[[Paint], list[str]]") -> int:
    """Prints the response as JSON if that was asked for, else as it is drawn."""
    if given.json:
        print(json.dumps(answer, ensure_ascii=False))
        return 0
    for line in drawn(_paint()):
        print(line)
    return 0


def _paint() -> "Paint":
    from threadloom.cli import drawing

    return drawing.coloured if sys.stdout.isatty() and not os.environ.get("NO_COLOR") else drawing.plain
