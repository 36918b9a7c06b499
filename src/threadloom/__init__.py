"""Threadloom: serves LangGraph graphs behind the LangGraph Server API, with copy-on-write threads."""

__version__ = "0.1.0"

__all__ = ["__version__"]
