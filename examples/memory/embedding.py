"""An embedding that needs no key and no model: texts that share words or parts of words are near.

A real one goes into `store.index.embed` as `provider:model`, or in this function's place.
"""

import hashlib
import math

DIMENSIONS = 1024  # as store.index.dims says


def embed(texts: list[str]) -> list[list[float]]:
    """A vector of length 1 for each text: how often each run of three letters occurs."""
    return [_one(f" {text.lower()} ") for text in texts]


def _one(text: str) -> list[float]:
    vector = [0.0] * DIMENSIONS
    for start in range(len(text) - 2):
        digest = hashlib.blake2s(text[start : start + 3].encode(), digest_size=2).digest()
        vector[int.from_bytes(digest) % DIMENSIONS] += 1.0
    length = math.hypot(*vector) or 1.0
    return [value / length for value in vector]
