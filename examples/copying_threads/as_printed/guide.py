"""The guide's check as it was first printed: only `metadata.thread_id` is left out."""

import asyncio
import sys

from langgraph_sdk import get_client

client = get_client(url=sys.argv[1])


def remove_thread_id(d):
    if "metadata" in d and "thread_id" in d["metadata"]:
        del d["metadata"]["thread_id"]
    return d


async def main():
    thread = await client.threads.create()
    message = {"role": "user", "content": "hello"}
    await client.runs.wait(thread["thread_id"], "agent", input={"messages": [message]})
    copied_thread = await client.threads.copy(thread["thread_id"])

    original_thread_history = list(map(remove_thread_id, await client.threads.get_history(thread["thread_id"])))
    copied_thread_history = list(map(remove_thread_id, await client.threads.get_history(copied_thread["thread_id"])))

    # Compare the two histories
    assert original_thread_history == copied_thread_history
    # if we made it here the assertion passed!
    print("The histories are the same.")


asyncio.run(main())
