"""Loads the embedding model of `store.index.embed`."""

import importlib
from collections.abc import Callable
from typing import Any

from langchain_core.embeddings import Embeddings
from langgraph.store.base import ensure_embeddings

from threadloom.config.settings import StoreIndex
from threadloom.errors import ConfigError, MissingPackageError
from threadloom.store.index import Index

KEY = "store.index.embed"


def load_index(settings: StoreIndex, load: Callable[[str], Any]) -> Index:
    """Returns the index that makes store items searchable by meaning.

    Args:
        load: returns the object that a code spec (`./file.py:name`) names.

    Raises:
        ConfigError: the model cannot be loaded; the message names what is missing.
    """
    try:
        importlib.import_module("numpy")
    except ModuleNotFoundError as error:
        raise MissingPackageError("store.index", "numpy", "threadloom[semantic]") from error
    return Index(load_embeddings(settings.embed, load), settings.dims, settings.fields, name=settings.embed)


def load_embeddings(embed: str, load: Callable[[str], Any]) -> Embeddings:
    """Returns the model that `embed` names: `provider:model`, or a code spec of a function from texts to vectors (sync or async)
    or of an `Embeddings` object. Arguments and errors as `load_index`.
    """
    place, colon, name = embed.rpartition(":")
    if not colon or not place or not name:
        raise ConfigError(f'{KEY}: must be "path.py:name" or "provider:model", got {embed!r}')
    if "/" not in place and "." not in place:
        return _provided(embed)
    try:
        found = load(embed)
    except ConfigError as error:
        raise ConfigError(f"{KEY}: {error}") from error
    if isinstance(found, type) or not (isinstance(found, Embeddings) or callable(found)):
        raise ConfigError(f"{KEY}: {embed!r} is neither a function from texts to vectors nor an Embeddings object")
    return ensure_embeddings(found)


def _provided(embed: str) -> Embeddings:
    """Returns a model of one of LangChain's providers."""
    try:
        init_embeddings = importlib.import_module("langchain.embeddings").init_embeddings
    except (ImportError, AttributeError) as error:
        raise MissingPackageError(
            f"{KEY}: {embed!r} names a model of a provider, which", "langchain", "langchain"
        ) from error
    try:
        model = init_embeddings(embed)
    except Exception as error:
        # LangChain's message names the missing package or key.
        raise ConfigError(f"{KEY}: {embed!r} cannot be used: {error}") from error
    if not isinstance(model, Embeddings):
        raise ConfigError(f"{KEY}: {embed!r} is no embedding model")
    return model
