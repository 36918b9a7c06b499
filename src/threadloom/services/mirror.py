"""Keeps `config.configurable` and `context` of an assistant equal. They are two names for the same value."""

from typing import Any

from msgspec import UNSET, UnsetType

from threadloom.errors import BadRequest

BOTH = "Cannot specify both configurable and context. Prefer setting context alone. Both hold the same values."

Object = dict[str, Any]


def mirrored(config: Object, context: Object) -> tuple[Object, Object]:
    """Returns config and context, with the one that was given copied to the other.

    Raises:
        BadRequest: both were given.
    """
    configurable = config.get("configurable")
    if configurable and context:
        raise BadRequest(BOTH)
    if configurable:
        return config, dict(configurable)
    if context:
        return {**config, "configurable": dict(context)}, context
    return config, context


def patched(
    config: Object, context: Object, new_config: Object | UnsetType, new_context: Object | UnsetType
) -> tuple[Object, Object]:
    """Config and context after a patch. Each is replaced as a whole; an empty new config changes nothing.

    A new config without `configurable` keeps the old context, under both names; `{}` for either clears both.

    Raises:
        BadRequest: both were given.
    """
    given = new_config or {}
    if given.get("configurable") and new_context:
        raise BadRequest(BOTH)
    after = given or config
    if given.get("configurable"):
        return after, dict(given["configurable"])
    if new_context is not UNSET:
        return mirrored(_without_configurable(after), new_context)
    if not given:
        return config, context
    return (after, {}) if "configurable" in given else mirrored(after, context)


def _without_configurable(config: Object) -> Object:
    return {key: value for key, value in config.items() if key != "configurable"}
