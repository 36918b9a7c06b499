"""Loads the object that `auth.path` names, and makes the authenticator and the guard from it."""

from typing import NamedTuple

from langgraph_sdk import Auth

from threadloom.auth.authenticate import HandlerAuthenticator
from threadloom.auth.authorize import Authorizer
from threadloom.clock import Clock
from threadloom.config.settings import Settings
from threadloom.errors import ConfigError
from threadloom.graphs.load import load_configured


class Access(NamedTuple):
    """The authenticator and the guard of the user's `Auth` object."""

    authenticator: HandlerAuthenticator
    authorizer: Authorizer


def load_access(settings: Settings, clock: Clock) -> Access | None:
    """Returns the authenticator and the guard; None if `auth` is not configured. Runs the user's code.

    Raises:
        ConfigError: the object cannot be used; the text names the place and the cause.
    """
    block = settings.auth
    if block is None:
        return None
    where = f"{settings.path or 'LANGGRAPH_AUTH'}: auth.path"
    found = load_configured(block.path, settings, key="auth.path", variable="LANGGRAPH_AUTH")
    if not isinstance(found, Auth):
        raise ConfigError(f"{where}: {block.path} must be a langgraph_sdk.Auth object, got {type(found).__name__}")
    try:
        authenticator = HandlerAuthenticator(found, clock, block.cache)
    except ConfigError as error:
        raise ConfigError(f"{where}: {block.path} cannot be used: {error}") from error
    return Access(authenticator, Authorizer(found, default=block.default))
