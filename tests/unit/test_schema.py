"""Schemas and drawings of graphs, however their states are typed."""

import dataclasses
import operator
import typing
from typing import Annotated, Any, Literal, NotRequired, Optional

import pytest
import typing_extensions
from langgraph.func import entrypoint
from langgraph.graph import END, START, MessagesState, StateGraph
from pydantic import BaseModel, Field

from threadloom.errors import Invalid
from threadloom.graphs.draw import draw, parse_xray
from threadloom.graphs.schema import schemas, subgraphs

pytestmark = pytest.mark.anyio

NAMES = {"input_schema", "output_schema", "state_schema", "config_schema", "context_schema"}


def graph(state, context=None, node=lambda state: {}):
    builder = StateGraph(state, context_schema=context)
    builder.add_node("node", node)
    builder.add_edge(START, "node")
    return builder.compile()


class Part(typing.TypedDict):
    """One part."""

    a: int
    b: NotRequired[str]


class Base(typing.TypedDict, total=False):
    inherited: float


class Plain(Base):
    """Written with `typing.TypedDict`, which pydantic refuses below Python 3.12."""

    parts: Annotated[list[Part], operator.add]
    by_name: dict[str, Part] | None
    maybe: Optional[Part]  # noqa: UP045 - the older spelling has to work too
    kind: Literal["x", "y"]
    pair: tuple[Part, ...]
    anything: Any


async def test_a_state_of_plain_typed_dicts_has_all_its_schemas():
    found = schemas(graph(Plain), "g_state")
    assert set(found) == NAMES
    taken = found["input_schema"]
    assert taken["title"] == "Plain"
    assert taken["properties"]["parts"]["items"] == {"$ref": "#/$defs/Part"}
    assert taken["properties"]["kind"]["enum"] == ["x", "y"]
    assert set(taken["required"]) == {"parts", "by_name", "maybe", "kind", "pair", "anything"}
    assert taken["$defs"]["Part"]["required"] == ["a"]
    assert taken["$defs"]["Part"]["description"] == "One part."
    assert found["output_schema"] == taken
    assert set(found["state_schema"]["properties"]) == set(taken["properties"])


async def test_every_key_of_the_state_is_optional_and_null_at_first():
    state = schemas(graph(Plain), "g_state")["state_schema"]
    assert state["title"] == "g_state"
    assert "required" not in state
    assert all(one["default"] is None for one in state["properties"].values())
    assert state["properties"]["inherited"] == {
        "type": "number",
        "default": None,
        "title": "Inherited",
    }


class Odd(typing_extensions.TypedDict, total=False):
    schema: str
    _hidden: int
    model_name: str


async def test_keys_that_pydantic_keeps_for_itself_are_ordinary_keys():
    assert set(schemas(graph(Odd))["state_schema"]["properties"]) == {"schema", "_hidden", "model_name"}


async def test_messages_are_known():
    found = schemas(graph(MessagesState), "chat_state")
    assert found["input_schema"]["properties"]["messages"]["type"] == "array"
    assert "AIMessage" in found["state_schema"]["$defs"]


@dataclasses.dataclass
class Settings:
    tone: str = "plain"
    part: Part | None = None
    many: list[int] = dataclasses.field(default_factory=list)


class Model(BaseModel):
    heat: float = Field(default=0.5, ge=0, le=1)


@pytest.mark.parametrize(("context", "title"), [(Part, "Part"), (Settings, "Settings"), (Model, "Model")])
async def test_a_context_is_a_typed_dict_a_dataclass_or_a_model(context, title):
    found = schemas(graph(Plain, context))
    assert found["context_schema"]["title"] == title
    assert found["config_schema"] == found["context_schema"]


async def test_defaults_and_limits_of_a_context_are_told():
    assert schemas(graph(Plain, Settings))["context_schema"]["properties"]["tone"]["default"] == "plain"
    heat = schemas(graph(Plain, Model))["context_schema"]["properties"]["heat"]
    assert (heat["default"], heat["minimum"], heat["maximum"]) == (0.5, 0, 1)


async def test_without_a_context_there_is_none():
    found = schemas(graph(Plain))
    assert (found["config_schema"], found["context_schema"]) == ({}, None)


@dataclasses.dataclass
class State:
    part: Part
    count: int = 0


async def test_a_dataclass_state_of_typed_dicts():
    found = schemas(graph(State))
    assert found["input_schema"]["required"] == ["part"]
    assert set(found["state_schema"]["properties"]) == {"part", "count"}


class Tree(typing.TypedDict):
    children: "list[Tree]"


async def test_a_type_within_itself_ends():
    assert set(schemas(graph(Tree))["input_schema"]["properties"]) == {"children"}


class Opaque:
    pass


class Unshowable(typing_extensions.TypedDict):
    thing: Opaque
    call: typing.Callable[[Part], int]


async def test_a_schema_that_cannot_be_built_is_null():
    found = schemas(graph(Unshowable, Opaque))
    assert found == dict.fromkeys(NAMES)


async def test_a_function_as_a_graph():
    @entrypoint(context_schema=Model)
    async def shout(text: str) -> int:
        return len(text)

    found = schemas(shout, "shout_state")
    assert (found["input_schema"]["type"], found["output_schema"]["type"]) == ("string", "integer")
    assert found["context_schema"]["title"] == "Model"
    assert found["state_schema"]["title"] == "shout_state"
    assert [node["id"] for node in (await draw(shout))["nodes"]] == ["shout", "__start__", "__end__"]


INNER = graph(Odd)
MIDDLE = graph(Odd, node=INNER)
OUTER = graph(Odd, node=MIDDLE)


async def test_subgraphs_by_namespace():
    assert list(await subgraphs(OUTER)) == ["node"]
    assert list(await subgraphs(OUTER, recurse=True)) == ["node", "node|node"]
    assert list(await subgraphs(OUTER, namespace="node|node", recurse=True)) == ["node|node"]
    assert await subgraphs(OUTER, namespace="other") == {}
    assert await subgraphs(INNER) == {}
    assert (await subgraphs(OUTER))["node"]["state_schema"]["title"] == "LangGraphState"


async def test_a_drawing_shows_names_and_as_many_levels_as_asked():
    assert (await draw(INNER))["nodes"] == [
        {"id": "__start__", "type": "runnable", "data": {"name": "__start__"}},
        {"id": "node", "type": "runnable", "data": {"name": "node"}},
        {"id": END},
    ]

    async def ids(xray):
        return {node["id"] for node in (await draw(OUTER, xray))["nodes"]} - {START, END}

    assert await ids(False) == {"node"}
    assert await ids(1) == {"node:node"}
    assert await ids(True) == {"node:node:node"}


@pytest.mark.parametrize(
    ("text", "depth"), [("", False), ("false", False), ("False", False), ("true", True), ("True", True), ("2", 2)]
)
async def test_xray_is_a_truth_value_or_a_depth(text, depth):
    assert parse_xray(text) == depth


@pytest.mark.parametrize("text", ["0", "-1", "1.5", "deep", "TRUE", "+1", "٣", "9" * 5000])
async def test_any_other_xray_is_refused(text):
    with pytest.raises(Invalid, match="Invalid xray value"):
        parse_xray(text)
