"""LangGraph's checkpoint saver over our storage."""

from threadloom.checkpointer.saver import FENCE, NOTED, RUN_ID, Saver

__all__ = ["FENCE", "NOTED", "RUN_ID", "Saver"]
