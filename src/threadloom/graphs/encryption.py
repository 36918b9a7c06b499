"""The user's encryption handlers, which `encryption.path` names."""

from threadloom.config.settings import Settings
from threadloom.encryption.handlers import Handlers
from threadloom.graphs.load import load_configured


def load_handlers(settings: Settings) -> Handlers | None:
    """Returns the handlers that `encryption` names; None when it is not configured. Runs user code.

    Raises:
        ConfigError: they cannot be loaded; the message names the place and the cause.
    """
    if settings.encryption is None:
        return None
    path = settings.encryption.path
    return Handlers(load_configured(path, settings, key="encryption.path", variable="LANGGRAPH_ENCRYPTION"), path)
