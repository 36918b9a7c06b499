"""LangGraph's checkpoint saver over our storage."""

from threadloom.checkpointer.saver import Saver
from threadloom.checkpointer.work import FENCE, NOTED, RUN_ID, UNNAMED

__all__ = ["FENCE", "NOTED", "RUN_ID", "UNNAMED", "Saver"]
