"""`threadloom threads`: the threads of a running server, over its public API."""

import argparse
import json
import sys
from typing import TYPE_CHECKING, Any

from threadloom.cli import thread_history
from threadloom.cli.options import add_verb, whole_number
from threadloom.errors import ConfigError

if TYPE_CHECKING:
    from threadloom.cli.options import Verbs

URL = "http://127.0.0.1:2024"


def add(verbs: "Verbs") -> None:
    parser = add_verb(
        verbs,
        "threads",
        help="list, copy, map, compare, reset, tag and delete threads",
        example="threadloom threads copy 0199c7e2-…",
    )
    ways = parser.add_subparsers(title="commands", metavar="COMMAND", required=True)

    listing = add_verb(
        ways, "list", help="list threads, newest first", example="threadloom threads list --status idle --limit 20"
    )
    listing.add_argument("--status", choices=("idle", "busy", "interrupted", "error"), help="only those")
    listing.add_argument("--limit", type=whole_number, default=20, help="how many (default: 20)")
    listing.add_argument("--offset", type=whole_number, default=0, help="how many to pass over (default: 0)")
    listing.add_argument("--json", action="store_true", help="print the records as JSON, one a line")
    listing.set_defaults(run=run_list)

    copying = add_verb(
        ways,
        "copy",
        help="copy a thread, whole or up to a checkpoint or message, and print the ids of the copies",
        example="threadloom threads copy 0199c7e2-… --message 4f1c… --count 8",
    )
    copying.add_argument("thread", help="the id of the thread")
    where = copying.add_mutually_exclusive_group()
    where.add_argument("--at", metavar="CHECKPOINT", help="the copy ends at this checkpoint or tag")
    where.add_argument(
        "--message", metavar="ID", help="the copy ends before this human message, or after this other one"
    )
    side = copying.add_mutually_exclusive_group()
    side.add_argument("--before", dest="side", action="store_const", const="before", help="end before the message")
    side.add_argument("--after", dest="side", action="store_const", const="after", help="end after the message")
    copying.add_argument(
        "--keep", type=kept, metavar="N", help="keep only the newest N checkpoints; `latest` keeps one (default: all)"
    )
    copying.add_argument("--count", type=whole_number, metavar="N", help="make N copies, all or none")
    copying.add_argument("--to", metavar="ID", help="the id that the copy gets (default: a new one)")
    copying.add_argument("--metadata", metavar="JSON", help="merged over the metadata of the thread")
    copying.add_argument("--assistant", metavar="ID", help="the assistant or graph that the copies belong to")
    copying.add_argument("--ttl", type=float, metavar="MINUTES", help="delete the copies after this time")
    copying.add_argument("--json", action="store_true", help="print the records as JSON, one a line")
    copying.set_defaults(run=run_copy)

    verifying = add_verb(
        ways,
        "verify",
        help="compare the whole histories of two threads by their digests, or check one for damage",
        example="threadloom threads verify 0199c7e2-… 0199c7e3-… --bytes",
    )
    verifying.add_argument("first", help="the id of a thread")
    verifying.add_argument("second", nargs="?", help="the id of another; without it, --bytes is needed")
    verifying.add_argument(
        "--bytes", action="store_true", help="also compute the digests from what is stored, and report damage"
    )
    verifying.add_argument("--json", action="store_true", help="print the result as one JSON object")
    verifying.set_defaults(run=run_verify)

    deleting = add_verb(
        ways,
        "delete",
        help="delete a thread, and print the ids of all that were deleted",
        example="threadloom threads delete 0199c7e2-… --cascade",
    )
    deleting.add_argument("thread", help="the id of the thread")
    deleting.add_argument(
        "--cascade",
        action="store_true",
        help="also delete every thread that descends from it by copying; else copies keep the history that they share",
    )
    deleting.set_defaults(run=run_delete)

    thread_history.add(ways)
    for way in ways.choices.values():
        way.add_argument("--url", default=URL, help=f"the server (default: {URL})")


def run_list(given: argparse.Namespace) -> int:
    from threadloom.cli.client import Client

    body: dict[str, Any] = {"limit": given.limit, "offset": given.offset, "sort_by": "created_at", "sort_order": "desc"}
    if given.status:
        body["status"] = given.status
    with Client(given.url) as client:
        found = client.post("/threads/search", body) if given.limit else []
    if given.json:
        for thread in found:
            print(json.dumps(thread, ensure_ascii=False))
        return 0
    print(f"{'THREAD':<36}  {'STATUS':<11}  {'UPDATED':<19}  GRAPH")
    for thread in found:
        graph = (thread.get("metadata") or {}).get("graph_id") or "-"
        print(f"{thread['thread_id']:<36}  {thread['status']:<11}  {thread['updated_at'][:19]:<19}  {graph}")
    return 0


def kept(text: str) -> "int | str":
    """Parses how many checkpoints a copy keeps."""
    return text if text in ("all", "latest") else whole_number(text)


def run_copy(given: argparse.Namespace) -> int:
    from threadloom.cli.client import Client

    if given.side and not given.message:
        raise ConfigError("--before and --after need --message")
    options = {
        "checkpoint_id": given.at,
        "message_id": given.message,
        "at": given.side,
        "keep": given.keep,
        "count": given.count,
        "thread_id": given.to,
        "metadata": _json_object(given.metadata, "--metadata"),
        "assistant_id": given.assistant,
        "ttl": None if given.ttl is None else {"ttl": given.ttl},
    }
    with Client(given.url) as client:
        # Requested first, because copying a missing thread fails as a conflict, which is less clear.
        client.get(f"/threads/{given.thread}")
        made = client.post(
            f"/threads/{given.thread}/copy", {name: value for name, value in options.items() if value is not None}
        )
    for copy in made if isinstance(made, list) else [made]:
        print(json.dumps(copy, ensure_ascii=False) if given.json else copy["thread_id"])
    return 0


def _json_object(text: str | None, option: str) -> dict[str, Any] | None:
    """Parses an option that takes a JSON object.

    Raises:
        ConfigError: it is none.
    """
    if text is None:
        return None
    try:
        value = json.loads(text)
    except ValueError as error:
        raise ConfigError(f"{option}: {error}") from error
    if not isinstance(value, dict):
        raise ConfigError(f"{option}: must be a JSON object")
    return value


def run_verify(given: argparse.Namespace) -> int:
    from threadloom.cli.client import Client
    from threadloom.cli.verify import verify

    if given.second is None and not given.bytes:
        print("Error: give a second thread to compare with, or --bytes to check this one for damage.", file=sys.stderr)
        return 2
    with Client(given.url) as client:
        result = verify(client, given.first, given.second, read_bytes=given.bytes)
    if given.json:
        print(json.dumps(result.fields(), ensure_ascii=False))
    else:
        print(result.text())
    return 0 if result.good else 1


def run_delete(given: argparse.Namespace) -> int:
    from threadloom.cli.client import Client

    path = f"/threads/{given.thread}"
    with Client(given.url) as client:
        if given.cascade:
            deleted = client.delete(path + "?cascade=copies")["thread_ids"]
        else:
            client.delete(path)
            deleted = [given.thread]
    for thread_id in deleted:
        print(thread_id)
    return 0
