"""Sends wake-ups and live events between processes that create, execute and follow runs. It never holds the only copy of
anything.
"""
