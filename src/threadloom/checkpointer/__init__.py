"""LangGraph's checkpoint saver over our storage."""

from threadloom.checkpointer.saver import Saver
from threadloom.checkpointer.shown import SHOWN, asked_under, question_id
from threadloom.checkpointer.work import FENCE, INPUT_LEFT, NOTED, RUN_ID, UNNAMED

__all__ = ["FENCE", "INPUT_LEFT", "NOTED", "RUN_ID", "SHOWN", "UNNAMED", "Saver", "asked_under", "question_id"]
