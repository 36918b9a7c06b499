"""Functions that are generated as code and compiled, like those of data classes.

For records that are read or sent by the thousand: a loop over the fields takes twice as long.
"""

from collections.abc import Callable, Mapping, Sequence
from typing import Any


def compiled(argument: str, lines: Sequence[str], known: Mapping[str, Any]) -> Callable[[Any], Any]:
    """Returns a function of one argument.

    Args:
        argument: the name of the argument.
        lines: the lines of its body.
        known: the values of the other names in it.
    """
    space = dict(known)
    exec(f"def made({argument}):\n    " + "\n    ".join(lines), space)
    made: Callable[[Any], Any] = space["made"]
    return made
