"""Loading the embedding model that `store.index.embed` names."""

import subprocess
import sys

import pytest
from langchain_core.embeddings import DeterministicFakeEmbedding

from threadloom.config.settings import StoreIndex
from threadloom.errors import ConfigError
from threadloom.graphs.embeddings import load_embeddings, load_index

pytestmark = pytest.mark.anyio


def plain(texts):
    return [[1.0, float(len(text))] for text in texts]


async def waiting(texts):
    return plain(texts)


class Callable:
    async def __call__(self, texts):
        return plain(texts)


@pytest.mark.parametrize("found", [plain, waiting, Callable()], ids=["sync", "async", "object"])
@pytest.mark.parametrize("spec", ["./embed.py:embed", "embed.py:embed", "package.module:embed"])
async def test_a_function_may_be_sync_or_async(found, spec):
    embeddings = load_embeddings(spec, {spec: found}.__getitem__)
    assert await embeddings.aembed_documents(["a", "bc"]) == [[1.0, 1.0], [1.0, 2.0]]
    assert await embeddings.aembed_query("abc") == [1.0, 3.0]


async def test_an_embeddings_object_is_taken_as_it_is():
    model = DeterministicFakeEmbedding(size=4)
    assert load_embeddings("./embed.py:model", lambda spec: model) is model


async def test_an_index_takes_the_rest_of_the_configuration():
    index = load_index(StoreIndex(2, "./embed.py:embed", ("title",)), lambda spec: plain)
    assert index.texts({"title": "t", "text": "x"}, None) == ["t"]
    assert len((await index.documents(["t"]))["t"]) == 2 * 4


@pytest.mark.parametrize("found", [5, "text", None, DeterministicFakeEmbedding], ids=str)
def test_anything_else_is_refused(found):
    with pytest.raises(ConfigError, match=r"store\.index\.embed: '\./embed\.py:x' is neither"):
        load_embeddings("./embed.py:x", lambda spec: found)


@pytest.mark.parametrize("embed", ["", "embed", ":x", "./embed.py:", "embed.py"])
def test_a_spec_has_two_parts(embed):
    with pytest.raises(ConfigError, match=r"store\.index\.embed"):
        load_embeddings(embed, lambda spec: plain)


def test_what_cannot_be_loaded_is_told_with_the_key():
    def load(spec):
        raise ConfigError("./embed.py: no such file")

    with pytest.raises(ConfigError, match=r"store\.index\.embed: \./embed\.py: no such file"):
        load_embeddings("./embed.py:x", load)


def test_a_missing_package_of_a_provider_is_named():
    with pytest.raises(ConfigError, match="langchain-mistralai"):
        load_embeddings("mistralai:mistral-embed", lambda spec: plain)


def test_an_unknown_provider_is_refused():
    with pytest.raises(ConfigError, match="nobody"):
        load_embeddings("nobody:model", lambda spec: plain)


def test_without_langchain_the_package_is_named(monkeypatch):
    monkeypatch.setitem(sys.modules, "langchain.embeddings", None)
    with pytest.raises(
        ConfigError, match="which needs the package langchain, which is not installed: pip install 'langchain'"
    ):
        load_embeddings("openai:text-embedding-3-small", lambda spec: plain)


def test_without_numpy_the_configuration_says_what_to_install(monkeypatch):
    monkeypatch.setitem(sys.modules, "numpy", None)
    with pytest.raises(ConfigError, match=r"store\.index needs the package numpy.*threadloom\[semantic\]"):
        load_index(StoreIndex(dims=2, embed="./embed.py:embed"), lambda spec: plain)


def test_numpy_is_not_imported_without_an_index():
    loaded = "import sys, threadloom.wiring; sys.exit('numpy' in sys.modules)"
    assert subprocess.run([sys.executable, "-c", loaded], check=False).returncode == 0
