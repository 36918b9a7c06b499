"""`threadloom threads`: lists, copies, compares and deletes the threads of a running server, over its public API."""

import argparse
import json
import sys
from typing import TYPE_CHECKING, Any

from threadloom.cli.options import add_verb, whole_number

if TYPE_CHECKING:
    from threadloom.cli.options import Verbs

URL = "http://127.0.0.1:2024"


def add(verbs: "Verbs") -> None:
    parser = add_verb(
        verbs, "threads", help="list, copy, compare and delete threads", example="threadloom threads copy 0199c7e2-…"
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
        help="copy a thread with its whole history, and print the copy's id",
        example="threadloom threads copy 0199c7e2-… --url http://127.0.0.1:2024",
    )
    copying.add_argument("thread", help="the id of the thread")
    copying.add_argument("--at", metavar="CHECKPOINT", help="the copy ends at this checkpoint")
    copying.add_argument("--to", metavar="ID", help="the id that the copy gets (default: a new one)")
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

    for way in (listing, copying, verifying, deleting):
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


def run_copy(given: argparse.Namespace) -> int:
    from threadloom.cli.client import Client

    options = {"checkpoint_id": given.at, "thread_id": given.to}
    with Client(given.url) as client:
        # Requested first, because copying a missing thread fails as a conflict, which is less clear.
        client.get(f"/threads/{given.thread}")
        copy = client.post(
            f"/threads/{given.thread}/copy", {name: value for name, value in options.items() if value is not None}
        )
    print(copy["thread_id"])
    return 0


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
