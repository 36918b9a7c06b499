"""Copying a thread with the Python SDK."""

import asyncio
import sys

from langgraph_sdk import get_client

URL = sys.argv[1] if len(sys.argv) > 1 else "http://127.0.0.1:2024"


def without_thread_ids(history):
    """The states without the id of the thread they belong to: the one thing in which a copy differs."""
    return [
        state
        | {
            key: {name: value for name, value in state[key].items() if name != "thread_id"}
            for key in ("metadata", "checkpoint", "parent_checkpoint")
            if state.get(key)
        }
        for state in history
    ]


async def main():
    client = get_client(url=URL)

    # Create a thread and run the graph on it.
    thread = await client.threads.create()
    message = {"role": "user", "content": "hello"}
    async for _ in client.runs.stream(thread["thread_id"], "agent", input={"messages": [message]}):
        pass

    # Copy it.
    copied = await client.threads.copy(thread["thread_id"])

    # Compare the histories.
    original_history = await client.threads.get_history(thread["thread_id"], limit=100)
    copied_history = await client.threads.get_history(copied["thread_id"], limit=100)
    assert original_history, "the run left no history"
    if without_thread_ids(original_history) != without_thread_ids(copied_history):
        sys.exit("The histories differ.")
    print("The histories are the same.")


asyncio.run(main())
