"""A graph whose file has stream transformers: one sends on a channel of its own, one holds back and changes events."""

import operator
from typing import Annotated

from langgraph.graph import START, StateGraph
from langgraph.stream import CustomTransformer, StreamChannel, StreamTransformer, UpdatesTransformer
from typing_extensions import TypedDict


class State(TypedDict, total=False):
    secret: str
    steps: Annotated[list, operator.add]


class Progress(StreamTransformer):
    """Counts the updates, on the channel `progress`."""

    required_stream_modes = ("updates",)

    def __init__(self, scope=()):
        super().__init__(scope)
        self.channel = StreamChannel("progress")
        self.seen = 0

    def init(self):
        return {"progress": self.channel}

    def process(self, event):
        if event["method"] == "updates" and not self.scope:
            self.seen += 1
            self.channel.push({"updates": self.seen})
        return True


class Censor(StreamTransformer):
    """No reader sees a secret, nor any update."""

    before_builtins = True

    def init(self):
        return {}

    def process(self, event):
        data = event["params"]["data"]
        if event["method"] == "values" and "secret" in data:
            event["params"]["data"] = {**data, "secret": "***"}
        return event["method"] != "updates"


def stream_transformers():
    return [UpdatesTransformer, CustomTransformer, Progress, Censor]


async def first(state: State):
    return {"steps": ["first"]}


async def second(state: State):
    return {"steps": ["second"]}


_builder = StateGraph(State)
_builder.add_node("first", first)
_builder.add_node("second", second)
_builder.add_edge(START, "first")
_builder.add_edge("first", "second")
graph = _builder.compile()
