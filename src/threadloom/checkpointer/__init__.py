"""LangGraph's checkpoint saver over our storage."""

from threadloom.checkpointer.saver import FENCE, RUN_ID, Saver

__all__ = ["FENCE", "RUN_ID", "Saver"]
