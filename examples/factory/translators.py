"""Graphs that are made anew for each run, by functions that `langgraph.json` names in place of graphs.

curl -s http://127.0.0.1:2024/runs/wait -d '{
  "assistant_id": "translator", "input": {"text": "hello"}, "config": {"configurable": {"languages": ["fr", "de"]}}}'
"""

import contextlib
import tempfile
from collections.abc import AsyncIterator
from pathlib import Path

from langchain_core.runnables import RunnableConfig
from langgraph.graph import START, StateGraph
from langgraph_sdk.runtime import ServerRuntime
from typing_extensions import TypedDict

WORDS = {"fr": {"hello": "bonjour"}, "de": {"hello": "hallo"}, "es": {"hello": "hola"}}


class Text(TypedDict, total=False):
    text: str
    fr: str
    de: str
    es: str


def translator(config: RunnableConfig) -> StateGraph[Text]:
    """A graph with a step for each language that the run asks for. The server compiles what is not compiled.

    A factory takes nothing, the config, the runtime (see below), or both, in any order.
    """
    builder = StateGraph(Text)
    for language in config["configurable"].get("languages", ["fr"]):

        def translate(state: Text, language: str = language) -> Text:
            return {language: WORDS[language].get(state["text"], state["text"])}

        builder.add_node(language, translate)
        builder.add_edge(START, language)
    return builder


class Kept(TypedDict, total=False):
    text: str
    kept: str


@contextlib.asynccontextmanager
async def archive(runtime: ServerRuntime) -> AsyncIterator[StateGraph[Kept]]:
    """A graph with something that has to be opened before and closed after a run: here, a file.

    Graphs are also made to be looked at (their schemas, the state of a thread). The runtime tells what for.
    """
    if runtime.execution_runtime is None:
        yield _keeping(None)
        return
    with tempfile.TemporaryDirectory() as folder:
        yield _keeping(Path(folder) / "archive.txt")


def _keeping(file: Path | None) -> StateGraph[Kept]:
    def keep(state: Kept) -> Kept:
        assert file is not None
        file.write_text(state["text"])
        return {"kept": file.read_text()}

    return StateGraph(Kept).add_node("keep", keep).add_edge(START, "keep")
