"""Users' graphs: found, executed once, handed out with the server's own storage."""

import sys

import pytest
from langgraph.checkpoint.memory import InMemorySaver
from langgraph.store.memory import InMemoryStore

from threadloom.config import GraphSpec, Settings
from threadloom.errors import ConfigError, NotFound
from threadloom.graphs import load as loading
from threadloom.graphs.factory import GraphInvalid
from threadloom.graphs.load import load_app, load_object
from threadloom.graphs.registry import GraphRegistry

pytestmark = pytest.mark.anyio

COMMON = """
import contextlib, functools
from typing import Annotated, TypedDict
from langchain_core.runnables import RunnableConfig
from langgraph.graph import START, StateGraph
from langgraph_sdk.runtime import ServerRuntime
from pydantic import BaseModel

class State(TypedDict, total=False):
    made: str

def built(made):
    async def node(state): return {"made": str(made)}
    return StateGraph(State).add_node("node", node).add_edge(START, "node")

graph = built("plain").compile()
builder = built("builder")
"""


@pytest.fixture(autouse=True)
def clean_modules(monkeypatch):
    """What a test imports is gone after it."""
    before, path = set(sys.modules), list(sys.path)
    yield
    for name in set(sys.modules) - before:
        if getattr(sys.modules[name], "__file__", None) and "pytest" in str(sys.modules[name].__file__):
            del sys.modules[name]
    sys.path[:] = path


@pytest.fixture
def make(tmp_path):
    """Graphs of files: `make({"a": "./a.py:graph"}, **{"a.py": code})`."""
    saver, store = InMemorySaver(), InMemoryStore()

    def made(specs: dict[str, str], files: dict[str, str], **more: object) -> GraphRegistry:
        return GraphRegistry(configured(specs, files, **more), saver, store)

    def configured(specs: dict[str, str], files: dict[str, str], **more: object) -> Settings:
        for name, code in files.items():
            (tmp_path / name).parent.mkdir(parents=True, exist_ok=True)
            (tmp_path / name).write_text(COMMON + code)
        graphs = {graph_id: GraphSpec(spec) for graph_id, spec in specs.items()}
        return Settings(root=tmp_path, graphs=graphs, data=tmp_path / "data", **more)

    made.saver, made.store, made.settings = saver, store, configured
    return made


async def run(graphs: GraphRegistry, graph_id: str, access="threads.create_run", context=None, **configurable) -> str:
    config = {"configurable": {"thread_id": "1", **configurable}}
    async with graphs.open(graph_id, config=config, access=access, context=context) as graph:
        assert graph.checkpointer is not None
        return (await graph.ainvoke({}, config))["made"]


async def test_files_modules_and_packages_are_found(make, tmp_path):
    specs = {
        "file": "./a.py:graph",
        "bare": "a.py:graph",
        "module": "sibling:graph",
        "package": "pkg_of_test.inner:builder",
    }
    files = {"a.py": "", "sibling.py": "", "packages/pkg_of_test/__init__.py": "", "packages/pkg_of_test/inner.py": ""}
    graphs = make(specs, files, dependencies=(tmp_path / "packages",))
    assert graphs.ids() == list(specs)
    assert [await run(graphs, graph_id) for graph_id in specs] == ["plain", "plain", "plain", "builder"]


async def test_a_file_is_executed_once_for_all_its_graphs_and_shares_its_siblings(make, capsys):
    files = {"note.py": "print('sibling')", "a.py": "import note\nprint('executed')"}
    make({"one": "./a.py:graph", "two": "./a.py:builder", "three": "note:graph"}, files)
    assert capsys.readouterr().out == "sibling\nexecuted\n"


async def test_a_compiled_graph_is_prepared_once_and_gets_the_servers_parts(make):
    graphs = make({"a": "./a.py:graph"}, {"a.py": ""})
    async with graphs.open("a", access="threads.read") as one, graphs.open("a", access="threads.create_run") as other:
        assert one is other
        assert one.checkpointer is make.saver
        assert one.store is make.store


async def test_a_graphs_own_checkpointer_is_replaced_with_a_warning(make, caplog):
    code = """
from langgraph.checkpoint.memory import InMemorySaver
own = built("own").compile(checkpointer=InMemorySaver())
"""
    graphs = make({"a": "./a.py:own"}, {"a.py": code})
    async with graphs.open("a", access="threads.read") as graph:
        assert graph.checkpointer is make.saver
    assert "graph 'a' has its own checkpointer" in caplog.text


FACTORIES = """
class Ctx(BaseModel):
    word: str = "none"

def flavour(config): return config["configurable"].get("flavour")
def nothing(): return built("nothing").compile()
def of_config(config: RunnableConfig): return built(flavour(config))
def untyped(whatever): return built(flavour(whatever))
async def of_async(config): return built(flavour(config)).compile()
def of_runtime(runtime: ServerRuntime): return built(runtime.access_context)
def of_text(runtime: "ServerRuntime[Ctx]"):
    ert = runtime.execution_runtime
    return built(ert.context.word if ert else "reading")
def of_annotated(r: Annotated[ServerRuntime, "doc"]): return built(r.store is not None)
def of_both(runtime: ServerRuntime, config: RunnableConfig): return built(f"{flavour(config)}/{runtime.user}")
def of_both_turned(config: RunnableConfig, *, runtime: ServerRuntime): return built(f"{flavour(config)}/{runtime.user}")
def of_default(config=None): return built(flavour(config))
def of_positional(config, /): return built(flavour(config))
of_partial = functools.partial(lambda made, config: built(made + flavour(config)), "partial ")

log = []
@contextlib.asynccontextmanager
async def of_context(config: RunnableConfig):
    log.append("enter")
    try:
        yield built(flavour(config)).compile()
    finally:
        log.append("leave")
@contextlib.contextmanager
def of_sync_context():
    log.append("enter")
    try:
        yield built("sync")
    finally:
        log.append("leave")

class OfObject:
    def __call__(self, config): return built(flavour(config))
of_object = OfObject()

class OfClass:
    def __new__(cls, config): return built(flavour(config)).compile()

def no_graph(): return 5
def raises(): raise ValueError("no graph today")
"""


@pytest.mark.parametrize(
    ("name", "made"),
    [
        ("nothing", "nothing"),
        ("of_config", "mint"),
        ("untyped", "mint"),
        ("of_async", "mint"),
        ("of_runtime", "threads.create_run"),
        ("of_text", "word of the run"),
        ("of_annotated", "True"),
        ("of_both", "mint/None"),
        ("of_both_turned", "mint/None"),
        ("of_default", "mint"),
        ("of_positional", "mint"),
        ("of_partial", "partial mint"),
        ("of_context", "mint"),
        ("of_sync_context", "sync"),
        ("of_object", "mint"),
    ],
)
async def test_factories_of_every_kind(make, name, made):
    graphs = make({"made": f"./f.py:{name}"}, {"f.py": FACTORIES})
    assert await run(graphs, "made", flavour="mint", context={"word": "word of the run"}) == made


async def test_a_class_may_be_a_factory(make):
    graphs = make({"made": "./f.py:OfClass"}, {"f.py": FACTORIES})
    assert await run(graphs, "made", flavour="mint") == "mint"


async def test_a_factory_knows_when_it_is_only_read(make):
    graphs = make({"a": "./f.py:of_text", "b": "./f.py:of_runtime"}, {"f.py": FACTORIES})
    assert await run(graphs, "a", access="threads.read") == "reading"
    assert await run(graphs, "b", access="assistants.read") == "assistants.read"


CONTEXTS = """
@dataclasses.dataclass
class Kind:
    word: str = "none"

@dataclasses.dataclass
class Strict:
    word: str

class Model(BaseModel):
    word: str = "none"

def shown(runtime): return built(repr(runtime.execution_runtime.context))
def of_any(runtime: ServerRuntime): return shown(runtime)
def of_data(runtime: ServerRuntime[Kind]): return shown(runtime)
def of_strict(runtime: ServerRuntime[Strict]): return shown(runtime)
def of_model(runtime: ServerRuntime[Model]): return shown(runtime)
"""


@pytest.mark.parametrize(
    ("name", "nothing", "more"),
    [
        ("of_any", "{}", "{'word': 'w', 'more': 1}"),
        ("of_data", "Kind(word='none')", "Kind(word='w')"),
        ("of_strict", "None", "Strict(word='w')"),
        ("of_model", "Model(word='none')", "Model(word='w')"),
    ],
)
async def test_a_factory_sees_the_runs_context_as_it_is_typed(make, name, nothing, more):
    graphs = make({"a": f"./f.py:{name}"}, {"f.py": "import dataclasses\n" + CONTEXTS})
    assert await run(graphs, "a") == nothing
    assert await run(graphs, "a", context={"word": "w", "more": 1}) == more


@pytest.mark.parametrize("name", ["of_context", "of_sync_context"])
async def test_a_context_manager_is_left_also_when_the_run_fails(make, name):
    graphs = make({"a": f"./f.py:{name}"}, {"f.py": FACTORIES})
    with pytest.raises(KeyError):
        async with graphs.open("a", config={"configurable": {}}, access="threads.create_run"):
            raise KeyError
    assert sys.modules["__f"].log == ["enter", "leave"]


async def test_a_factory_without_a_graph_is_a_424(make):
    graphs = make({"h": "./f.py:no_graph"}, {"f.py": FACTORIES})
    with pytest.raises(GraphInvalid) as caught:
        await run(graphs, "h")
    assert caught.value.status == 424
    assert caught.value.detail.startswith("Graph 'h' is not valid. Review graph registration.")


async def test_what_a_factory_raises_is_passed_on(make):
    graphs = make({"a": "./f.py:raises"}, {"f.py": FACTORIES})
    with pytest.raises(ValueError, match="no graph today"):
        await run(graphs, "a")


async def test_an_unknown_graph_is_not_found(make):
    with pytest.raises(NotFound, match=r"Graph 'x' not found. Expected one of: \['a'\]"):
        await run(make({"a": "./a.py:graph"}, {"a.py": ""}), "x")


async def test_all_broken_graphs_are_told_at_once_without_our_frames(make):
    specs = {
        "one": "./broken.py:graph",
        "two": "./broken.py:builder",
        "syntax": "./syntax.py:graph",
        "leaves": "./leaves.py:graph",
        "number": "./a.py:number",
        "name": "./a.py:grph",
        "many": "./a.py:many",
        "gone": "./gone.py:graph",
        "module": "no_such_module_of_test:graph",
        "good": "./a.py:graph",
    }
    files = {
        "broken.py": "def deeper(): return 1 / 0\ndeeper()",
        "syntax.py": "def (",
        "leaves.py": "import sys\nsys.exit(3)",
        "a.py": "number = 5\ndef many(a, b, c): pass",
    }
    with pytest.raises(ConfigError) as caught:
        make(specs, files)
    told = str(caught.value)
    assert "Failed to load graphs 'one', 'two' from ./broken.py" in told
    assert "ZeroDivisionError: division by zero" in told
    assert "in deeper" in told
    assert "SyntaxError" in told
    assert "sys.exit()" in told
    assert "Variable 'number' in module './a.py' is not a Graph or Graph factory function" in told
    assert "there is no 'grph' in ./a.py; it has 'builder', 'built', 'graph'" in told
    assert "the factory takes 3 parameters (a, b, c)" in told
    assert "there is no file" in told
    assert "No module named 'no_such_module_of_test'" in told
    assert "'good'" not in told
    assert "threadloom/graphs" not in told
    assert "importlib" not in told


async def test_env_and_paths_are_set_before_any_code_runs(make, monkeypatch):
    monkeypatch.delenv("SET_BY_CONFIG", raising=False)
    code = "import os\ndef said(): return built(os.environ['SET_BY_CONFIG'])\nos.environ['SET_BY_CONFIG']"
    graphs = make({"a": "./a.py:said"}, {"a.py": code}, env={"SET_BY_CONFIG": "yes"})
    assert await run(graphs, "a") == "yes"


async def test_a_slow_import_is_named_with_its_line(make, monkeypatch, caplog):
    monkeypatch.setattr(loading, "SLOW_IMPORT", 0.01)
    make({"a": "./a.py:graph"}, {"a.py": "import time\ntime.sleep(0.2)"})
    assert "still importing graph 'a' from ./a.py after 0.01 s" in caplog.text
    assert "time.sleep(0.2)" in caplog.text


async def test_other_objects_are_loaded_from_the_same_modules(make):
    settings = make.settings(
        {"a": "./a.py:graph"}, {"a.py": "from starlette.applications import Starlette\napp = Starlette()"}
    )
    assert load_object("./a.py:app", settings) is load_object("a.py:app", settings)
    with pytest.raises(ConfigError, match="there is no 'nothing'"):
        load_object("./a.py:nothing", settings)


async def test_the_own_app_must_be_one(make, tmp_path):
    from threadloom.config import HttpSettings

    code = "from starlette.applications import Starlette\napp = Starlette()\nnumber = 5"
    good = make.settings({"a": "./a.py:graph"}, {"a.py": code}, http=HttpSettings(app="./a.py:app"))
    assert load_app(good) is load_object("./a.py:app", good)
    bad = make.settings({"a": "./a.py:graph"}, {"a.py": code}, http=HttpSettings(app="./a.py:number"))
    with pytest.raises(
        ConfigError, match=r"http\.app: \./a\.py:number must be a Starlette or FastAPI application, got int"
    ):
        load_app(bad)
