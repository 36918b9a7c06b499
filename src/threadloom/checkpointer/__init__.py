"""LangGraph's checkpoint saver on Threadloom's storage."""

from threadloom.checkpointer.saver import Saver
from threadloom.checkpointer.transactions import (
    AS_OF,
    AT_END_OF,
    FENCE,
    IN_STEP,
    INPUT_LEFT,
    RUN_ID,
    RUN_METADATA,
    UNNAMED,
    as_of,
)
from threadloom.checkpointer.visible import SHARED, SHOWN, asked_under, question_id

INTERNAL_KEYS = frozenset({AS_OF, AT_END_OF, FENCE, IN_STEP, INPUT_LEFT, RUN_METADATA, SHARED, SHOWN, UNNAMED})
"""Keys of `configurable` with which the server controls the checkpointer. Clients cannot set them."""

__all__ = [
    "AS_OF",
    "AT_END_OF",
    "FENCE",
    "INPUT_LEFT",
    "INTERNAL_KEYS",
    "RUN_ID",
    "RUN_METADATA",
    "SHARED",
    "SHOWN",
    "UNNAMED",
    "Saver",
    "as_of",
    "asked_under",
    "question_id",
]
