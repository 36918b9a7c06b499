"""A graph that remembers across threads: it keeps what it is told, and answers with what comes nearest to a question.

    curl -s http://127.0.0.1:2024/runs/wait -d '{"assistant_id": "notes", "input": {"note": "The keys hang by the door."}}'
    curl -s http://127.0.0.1:2024/runs/wait -d '{"assistant_id": "notes", "input": {"question": "Where are my keys?"}}'

The same memory, asked without the graph:

    curl -s http://127.0.0.1:2024/store/items/search -d '{"namespace_prefix": ["notes"], "query": "keys"}'
"""

import uuid

from langgraph.graph import START, StateGraph
from langgraph.runtime import Runtime
from typing_extensions import TypedDict


class Memory(TypedDict, total=False):
    note: str
    question: str
    answer: str | None


async def remember(state: Memory, runtime: Runtime[None]) -> Memory:
    store = runtime.store
    assert store is not None  # the server gives it; a graph of a thread of tomorrow sees the same one
    if note := state.get("note"):
        await store.aput(("notes",), str(uuid.uuid4()), {"text": note})
    if question := state.get("question"):
        nearest = await store.asearch(("notes",), query=question, limit=1)
        return {"answer": nearest[0].value["text"] if nearest else None}
    return {"answer": None}


graph = StateGraph(Memory).add_node("remember", remember).add_edge(START, "remember").compile()
