"""Imports what other servers and savers store: threads with their histories, assistants, crons, items."""
