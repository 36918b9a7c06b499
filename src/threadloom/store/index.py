"""Embeds values and queries with the embedding model of the configuration."""

import asyncio
import logging
from collections.abc import Mapping, Sequence
from typing import Any

from langchain_core.embeddings import Embeddings
from langgraph.store.base import get_text_at_path, tokenize_path

from threadloom.error_payloads import error_payload
from threadloom.errors import ApiError
from threadloom.usercode import contained

log = logging.getLogger("threadloom.store")


class EmbeddingError(ApiError):
    """The configured embedding function failed, or returned unusable vectors. Nothing was stored."""

    status = 502


class Index:
    """Makes the vectors of values and queries.

    Args:
        embeddings: the model.
        dims: length of its vectors.
        fields: JSON paths of a value; each is embedded by itself. `$` is the whole value.
        name: the model's name in the configuration, for error messages.

    Attributes:
        dims: as given.
    """

    def __init__(self, embeddings: Embeddings, dims: int, fields: Sequence[str] = ("$",), name: str = "embed") -> None:
        self._embeddings = embeddings
        self.dims = dims
        self._name = name
        self._paths = [_path(field) for field in fields]

    def texts(self, value: Mapping[str, Any], index: Sequence[str] | None) -> list[str]:
        """Returns the texts of a value to embed, without duplicates and blank texts. `index` overrides the fields."""
        paths = self._paths if index is None else [_path(field) for field in index]
        found = (text for path in paths for text in get_text_at_path(value, path))
        return [text for text in dict.fromkeys(found) if text.strip()]

    async def documents(self, texts: Sequence[str]) -> dict[str, bytes]:
        """Returns the vector of each text.

        Raises:
            EmbeddingError: the model failed.
        """
        if not texts:
            return {}
        try:
            with contained():
                vectors = await self._embeddings.aembed_documents(list(texts))
        except Exception as error:
            raise self._failed(error) from error
        if not hasattr(vectors, "__len__"):
            raise self._unfit(f"gave no list of vectors but {type(vectors).__name__}")
        if len(vectors) != len(texts):
            raise self._unfit(f"gave {len(vectors)} vectors for {len(texts)} texts")
        return {text: self._packed(vector) for text, vector in zip(texts, vectors, strict=True)}

    async def queries(self, texts: Sequence[str]) -> dict[str, bytes]:
        """Returns the vector of each query text. Raises as `documents`."""
        try:
            with contained():
                vectors = await asyncio.gather(*(self._embeddings.aembed_query(text) for text in texts))
        except Exception as error:
            raise self._failed(error) from error
        return {text: self._packed(vector) for text, vector in zip(texts, vectors, strict=True)}

    def _packed(self, vector: Any) -> bytes:
        """Returns a vector as float32, normalized to length 1, so that the cosine similarity is a single dot product."""
        import numpy as np

        try:
            numbers = np.asarray(vector, dtype=np.float64)
        except (TypeError, ValueError) as error:
            raise self._unfit("gave something that is no list of numbers") from error
        if numbers.shape != (self.dims,):
            shape = "×".join(map(str, numbers.shape))
            raise self._unfit(f"gave a vector of {shape} numbers, store.index.dims says {self.dims}")
        if not np.isfinite(numbers).all():
            raise self._unfit("gave a vector with NaN or infinity in it")
        length = float(np.linalg.norm(numbers))
        return (numbers / length if length else numbers).astype("<f4").tobytes()

    def _failed(self, error: Exception) -> EmbeddingError:
        # Only the class of the error is shown: its text may hold credentials for the model.
        log.error("The embedding function %s failed", self._name, exc_info=error)
        return EmbeddingError(f"The embedding function {self._name} failed: {error_payload(error)['error']}")

    def _unfit(self, why: str) -> EmbeddingError:
        log.error("The embedding function %s %s", self._name, why)
        return EmbeddingError(f"The embedding function {self._name} {why}")


def _path(field: str) -> str | list[str]:
    return field if field == "$" else tokenize_path(field)
