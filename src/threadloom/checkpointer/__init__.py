"""LangGraph's checkpoint saver over our storage."""

from threadloom.checkpointer.saver import Saver
from threadloom.checkpointer.shown import SHOWN, asked_under, question_id
from threadloom.checkpointer.work import FENCE, INPUT_LEFT, NOTED, RUN_ID, UNNAMED

STEERING = frozenset({FENCE, INPUT_LEFT, NOTED, SHOWN, UNNAMED})
"""Keys of `configurable` by which a caller of ours steers the checkpointer. They are nobody else's to give."""

__all__ = [
    "FENCE",
    "INPUT_LEFT",
    "NOTED",
    "RUN_ID",
    "SHOWN",
    "STEERING",
    "UNNAMED",
    "Saver",
    "asked_under",
    "question_id",
]
