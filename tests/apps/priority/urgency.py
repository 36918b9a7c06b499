"""How urgent threads are. Tells on standard error what it was asked."""

import json
import sys

from langgraph_sdk import Priority

priority = Priority()


@priority.assign
async def assign(ctx):
    asked = {
        "user": ctx.user.identity,
        "org": ctx.user.get("org_id"),
        "permissions": list(ctx.permissions),
        "thread_id": ctx.thread_id,
        "thread": ctx.thread_metadata,
        "assistant_id": ctx.assistant_id,
        "graph_id": ctx.graph_id,
        "assistant": ctx.assistant_metadata,
        "run": ctx.run_metadata,
        "cron_id": ctx.cron_id,
    }
    print("ASKED " + json.dumps(asked), file=sys.stderr, flush=True)
    told = {**ctx.thread_metadata, **ctx.run_metadata}
    if told.get("fails"):
        raise RuntimeError("a secret reason")
    if "answer" in told:
        return told["answer"]
    return {"priority": -5} if "premium" in ctx.permissions else None
