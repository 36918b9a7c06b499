"""Graphs to measure Studio with: `loop` takes as many steps as it is told, and the others have 1,000 nodes in different forms."""

from typing import TypedDict

from langgraph.graph import END, START, StateGraph

NODES = 998


class Count(TypedDict):
    left: int
    note: str


def step(state: Count) -> Count:
    return {"left": state["left"] - 1, "note": f"{state['left']} " * 100}


builder = StateGraph(Count)
builder.add_node(step)
builder.add_edge(START, "step")
builder.add_conditional_edges("step", lambda state: "step" if state["left"] > 0 else END, ["step", END])
loop = builder.compile()


def _graph(edges: list[tuple[str, str]]) -> StateGraph:
    graph = StateGraph(Count)
    for name in sorted({name for edge in edges for name in edge} - {START, END}):
        graph.add_node(name, step)
    for source, target in edges:
        graph.add_edge(source, target)
    return graph


names = [f"node_{index}" for index in range(NODES)]
path = list(zip([START, *names], [*names, END], strict=True))
deep = _graph([*path, *((name, END) for name in names[:-1])]).compile()
wide = _graph([edge for name in names for edge in ((START, name), (name, END))]).compile()
tree = _graph([(START, names[0]), *((names[(i - 1) // 3], names[i]) for i in range(1, NODES))]).compile()
