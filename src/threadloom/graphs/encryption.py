"""The user's encryption handlers, which `encryption.path` names."""

from threadloom.config.settings import Settings
from threadloom.encryption.handlers import Handlers
from threadloom.graphs.load import load_configured


def load_handlers(settings: Settings) -> Handlers | None:
    """What `encryption` asks for; None when it is not configured. Runs the user's code.

    Raises:
        ConfigError: they cannot be had; the text names the place and the cause.
    """
    if settings.encryption is None:
        return None
    path = settings.encryption.path
    return Handlers(load_configured(path, settings, key="encryption.path", variable="LANGGRAPH_ENCRYPTION"), path)
