"""LangGraph's checkpoint saver over our storage."""

from threadloom.checkpointer.saver import FENCE, NOTED, RUN_ID, Saver
from threadloom.checkpointer.shown import SHOWN, question_id

__all__ = ["FENCE", "NOTED", "RUN_ID", "SHOWN", "Saver", "question_id"]
