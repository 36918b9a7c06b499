"""Draws trees and differences as lines of text. Pure: it returns lines and prints nothing."""

from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import Any

WIDTH = 72
"""The longest text of a message or value that is shown in a line."""

Paint = Callable[[str, str], str]
"""Returns a text in a colour: `green`, `red`, `yellow`, `dim` or `bold`."""

COLOURS = {"green": "32", "red": "31", "yellow": "33", "dim": "2", "bold": "1"}


def plain(text: str, colour: str) -> str:
    """Returns a text without colour: for files and pipes."""
    return text


def coloured(text: str, colour: str) -> str:
    """Returns a text with the escape codes of a terminal."""
    return f"\x1b[{COLOURS[colour]}m{text}\x1b[0m"


def tree(
    roots: Sequence[int], children: Mapping[int, Sequence[int]], label: Callable[[int], str], *, straight: bool = False
) -> list[str]:
    """Draws a tree.

    Args:
        roots: the nodes without a parent.
        children: the children of each node, in the order in which they are drawn.
        label: the text of a node.
        straight: the last child of a node continues the line of the node. So a long path without branches is not indented.
    """
    end = "" if straight else "└─ "

    def placed(nodes: Sequence[int], prefix: str) -> list[tuple[str, str, int]]:
        """Returns the start of each node's line, the start of the lines below it, and the node; the last one first."""
        before = [(f"{prefix}├─ ", f"{prefix}│  ", node) for node in nodes[:-1]]
        return [*before, *((prefix + end, prefix + " " * len(end), node) for node in nodes[-1:])][::-1]

    lines: list[str] = []
    waiting = placed(roots, "") if straight else [("", "", node) for node in reversed(roots)]
    while waiting:
        start, below, node = waiting.pop()
        lines.append(start + label(node))
        waiting += placed(children.get(node, ()), below)
    return lines


def message_text(message: Mapping[str, Any]) -> str:
    """Returns what a message says, in one line, or the tools that it calls."""
    content = message.get("content")
    if isinstance(content, list):
        content = " ".join(str(part.get("text", part.get("type", ""))) for part in content if isinstance(part, dict))
    calls = [f"{call.get('name')}({short(call.get('args'))})" for call in message.get("tool_calls") or ()]
    return shortened(" ".join(part for part in (str(content or ""), *calls) if part))


def short(value: Any) -> str:
    """Returns a JSON value in one line of limited length."""
    import json

    return shortened(value if isinstance(value, str) else json.dumps(value, ensure_ascii=False))


def shortened(text: str) -> str:
    """Returns a text in one line of limited length."""
    line = " ".join(text.split())
    return line if len(line) <= WIDTH else line[: WIDTH - 1] + "…"


def branches(answer: Mapping[str, Any], texts: Mapping[str, str], paint: Paint) -> list[str]:
    """Draws the map of a thread.

    Args:
        answer: the response of `GET /threads/{id}/branches`.
        texts: what messages say, by their ids. Messages that are not in it are shown by their ids.
        paint: colours a text.
    """
    turns: Sequence[Mapping[str, Any]] = answer["turns"]
    children: dict[int, list[int]] = {}
    roots: list[int] = []
    for number, turn in enumerate(turns):
        place = roots if turn["parent"] is None else children.setdefault(turn["parent"], [])
        place.append(number)
    for nodes in (roots, *children.values()):
        nodes.sort(key=lambda number: (bool(turns[number]["active"]), number))

    def label(number: int) -> str:
        turn = turns[number]
        said = texts.get(turn["message_id"] or "") or turn["message_id"] or "(input)"
        siblings = turn["siblings"]
        parts = [
            paint("●" if turn["active"] else "○", "green" if turn["active"] else "dim"),
            f"{turn['role'] or 'input':<6}",
            said,
        ]
        if len(siblings) > 1:
            parts.append(paint(f"‹ {siblings.index(number) + 1}/{len(siblings)} ›", "yellow"))
        parts += [paint(f"⑂ {copy}", "yellow") for copy in turn["copies"]]
        parts.append(paint(turn["after"], "dim"))
        return " ".join(parts)

    return tree(roots, children, label, straight=True)


def lineage(answer: Mapping[str, Any], thread_id: str, paint: Paint) -> list[str]:
    """Draws the tree of copies that a thread belongs to. The thread itself is marked.

    Args:
        answer: the response of `GET /threads/{id}/lineage`.
    """
    threads: Sequence[Mapping[str, Any]] = answer["threads"]
    children: dict[int, list[int]] = {}
    roots: list[int] = []
    above: list[int] = []
    for number, thread in enumerate(threads):  # in preorder
        del above[thread["depth"] :]
        (children.setdefault(above[-1], []) if above else roots).append(number)
        above.append(number)

    def label(number: int) -> str:
        thread = threads[number]
        if thread.get("hidden"):
            return paint("○ (not yours to read)", "dim")
        gone = thread.get("deleted")
        parts = [paint("○", "dim") if gone else paint("●", "green"), thread["thread_id"]]
        if thread["thread_id"] == thread_id:
            parts[1] = paint(parts[1], "bold")
        parts.append(paint("deleted", "dim") if gone else str(thread.get("status")))
        if thread.get("checkpoint_id"):
            parts.append(paint(f"copied at {thread['checkpoint_id']}", "dim"))
        return " ".join(parts)

    return tree(roots, children, label)


def comparison(answer: Mapping[str, Any], paint: Paint) -> list[str]:
    """Draws how two threads differ.

    Args:
        answer: the response of `GET /threads/{a}/compare/{b}`, with or without the state.
    """
    common = answer["common"]
    if answer["equal"]:
        return ["The threads have the same history."]
    lines = (
        ["The threads have no common history."]
        if common is None
        else [
            f"common  {common['checkpoint_id']}",
            f"first   {_ahead(answer['a'], 'red', paint)}",
            f"second  {_ahead(answer['b'], 'green', paint)}",
        ]
    )
    if answer.get("messages"):
        lines += ["", paint("messages", "bold"), *_messages(answer["messages"], paint)]
    for name, channel in (answer.get("channels") or {}).items():
        if channel["change"] != "same" and not (name == "messages" and answer.get("messages")):
            lines += ["", paint(name, "bold"), *_sides(channel, short, paint)]
    return lines


def _ahead(side: Mapping[str, Any], colour: str, paint: Paint) -> str:
    number = side["ahead"]
    checkpoints = "checkpoint" if number == 1 else "checkpoints"
    return f"{side['thread_id']} {paint(f'+{number} {checkpoints}', colour)} {paint(str(side['head']), 'dim')}"


def _messages(messages: Iterable[Mapping[str, Any]], paint: Paint) -> list[str]:
    lines: list[str] = []
    equal = 0
    for message in messages:
        if message["change"] == "same":
            equal += 1
            continue
        lines += [*_equal(equal, paint), *_sides(message, _said, paint)]
        equal = 0
    return lines + _equal(equal, paint)


def _equal(count: int, paint: Paint) -> list[str]:
    return [paint(f"    {count} equal {'messages' if count > 1 else 'message'}", "dim")] if count else []


def _said(message: Any) -> str:
    if not isinstance(message, dict):
        return short(message)
    return f"{message.get('type') or message.get('role') or '':<6} {message_text(message)}"


def _sides(difference: Mapping[str, Any], shown: Callable[[Any], str], paint: Paint) -> list[str]:
    lines = []
    if "a" in difference and difference["change"] != "added":
        lines.append(paint(f"  - {shown(difference['a'])}", "red"))
    if "b" in difference and difference["change"] != "removed":
        lines.append(paint(f"  + {shown(difference['b'])}", "green"))
    return lines
