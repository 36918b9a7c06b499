"""Has the graph `report` run by a schedule, on one thread, so that the reports add up.

    python schedule.py                               # every day at 8:00 in Berlin
    python schedule.py '* * * * *'                   # every minute

It prints the ids of cron and thread. See the thread grow with `GET /threads/{thread_id}/state`; end it with
`DELETE /runs/crons/{cron_id}`.
"""

import asyncio
import os
import sys

from langgraph_sdk import get_client

URL = os.environ.get("LANGGRAPH_URL", "http://127.0.0.1:2024")


async def main(schedule: str) -> None:
    client = get_client(url=URL)
    thread = await client.threads.create()
    cron = await client.crons.create_for_thread(
        thread["thread_id"],
        "report",
        schedule=schedule,
        timezone="Europe/Berlin",
        input={"about": "the world"},
    )
    print(cron["cron_id"], thread["thread_id"])


if __name__ == "__main__":
    asyncio.run(main(sys.argv[1] if len(sys.argv) > 1 else "0 8 * * *"))
