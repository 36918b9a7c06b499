"""LangGraph's checkpoint saver on Threadloom's storage."""

from threadloom.checkpointer.saver import Saver
from threadloom.checkpointer.transactions import FENCE, INPUT_LEFT, RUN_ID, RUN_METADATA, UNNAMED
from threadloom.checkpointer.visible import SHOWN, asked_under, question_id

INTERNAL_KEYS = frozenset({FENCE, INPUT_LEFT, RUN_METADATA, SHOWN, UNNAMED})
"""Keys of `configurable` with which the server controls the checkpointer. Clients cannot set them."""

__all__ = [
    "FENCE",
    "INPUT_LEFT",
    "INTERNAL_KEYS",
    "RUN_ID",
    "RUN_METADATA",
    "SHOWN",
    "UNNAMED",
    "Saver",
    "asked_under",
    "question_id",
]
