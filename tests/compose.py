"""Reads compose files as an engine would, and holds them to the specification."""

import re
from typing import Any

import yaml
from compose_spec import PyOptions

VARIABLE = re.compile(r"\$\{([A-Z_]+)(?::?([-?])([^}]*))?\}")


def checked(text: str, **variables: str) -> dict[str, Any]:
    """The services of a compose file, variables filled in.

    Raises:
        ValueError: the specification knows no such file.
        KeyError: a variable is needed and not given.
    """

    def value(match: re.Match[str]) -> str:
        name, how, default = match.groups()
        return variables.get(name, default) if how == "-" else variables[name]

    filled = VARIABLE.sub(value, text)
    options = PyOptions()
    options.apply_merge = True
    options.from_yaml(filled).validate()
    services: dict[str, Any] = yaml.safe_load(filled)["services"]
    return services
