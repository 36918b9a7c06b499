"""Bringing in what other servers and savers keep: threads with their histories, assistants, crons, items."""
