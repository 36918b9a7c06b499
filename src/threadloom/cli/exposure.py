"""Warns of a server that others can reach without authentication."""

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from threadloom.config import Settings


def warning(settings: "Settings", address: str) -> str | None:
    """Returns the warning for a server that listens beyond the loopback address without authentication; None if it does not."""
    from threadloom.config.host_names import host_of, is_loopback

    if settings.auth is not None or is_loopback(host_of(address)):
        return None
    return (
        f"OPEN TO EVERYBODY who reaches this machine: it listens on {address} and no auth is set. Anyone can read, change and "
        'delete all threads and run your graphs. Set "auth" in langgraph.json, or listen on 127.0.0.1.'
    )
