"""`threadloom webhooks`: lists the webhook deliveries of a running server, and sends them again, over its public API."""

import argparse
import json
from typing import TYPE_CHECKING
from urllib.parse import urlencode

from threadloom.cli.options import add_verb, whole_number
from threadloom.cli.threads import URL

if TYPE_CHECKING:
    from threadloom.cli.options import Verbs


def add(verbs: "Verbs") -> None:
    parser = add_verb(
        verbs,
        "webhooks",
        help="list what webhooks were told, and tell them again",
        example="threadloom webhooks list --status failed",
    )
    ways = parser.add_subparsers(title="commands", metavar="COMMAND", required=True)

    listing = add_verb(
        ways,
        "list",
        help="list deliveries, newest first",
        example="threadloom webhooks list --status failed --limit 20",
    )
    listing.add_argument("--status", choices=("pending", "delivered", "failed"), help="only those")
    listing.add_argument("--run", dest="run_id", metavar="ID", help="only those of a run")
    listing.add_argument("--thread", dest="thread_id", metavar="ID", help="only those of a thread")
    listing.add_argument("--limit", type=whole_number, default=20, help="how many (default: 20)")
    listing.add_argument("--offset", type=whole_number, default=0, help="how many to pass over (default: 0)")
    listing.add_argument("--json", action="store_true", help="print the records as JSON, one a line")
    listing.set_defaults(run=run_list)

    again = add_verb(
        ways,
        "redeliver",
        help="tell webhooks again, under the ids of their deliveries",
        example="threadloom webhooks redeliver 0199c7e2-…",
    )
    again.add_argument("deliveries", nargs="+", metavar="DELIVERY", help="the id of a delivery")
    again.set_defaults(run=run_redeliver)

    for way in (listing, again):
        way.add_argument("--url", default=URL, help=f"the server (default: {URL})")


def run_list(given: argparse.Namespace) -> int:
    from threadloom.cli.client import Client

    wanted = {name: getattr(given, name) for name in ("status", "run_id", "thread_id", "limit", "offset")}
    query = urlencode({name: value for name, value in wanted.items() if value is not None})
    with Client(given.url) as client:
        found = client.get(f"/webhooks/deliveries?{query}") if given.limit else []
    if given.json:
        for delivery in found:
            print(json.dumps(delivery, ensure_ascii=False))
        return 0
    print(f"{'DELIVERY':<36}  {'STATUS':<9}  {'TRIES':>5}  {'UPDATED':<19}  {'LAST ANSWER':<30}  URL")
    for delivery in found:
        last = delivery["tries"][-1] if delivery["tries"] else {}
        answer = last.get("error") or last.get("status") or "-"
        print(
            f"{delivery['delivery_id']:<36}  {delivery['status']:<9}  {len(delivery['tries']):>5}"
            f"  {delivery['updated_at'][:19]:<19}  {answer!s:<30.30}  {delivery['url']}"
        )
    return 0


def run_redeliver(given: argparse.Namespace) -> int:
    from threadloom.cli.client import Client

    with Client(given.url) as client:
        for delivery in given.deliveries:
            print(client.post(f"/webhooks/deliveries/{delivery}/redeliver", None)["delivery_id"])
    return 0
