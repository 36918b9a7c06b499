"""Functions written out as code and compiled, as those of data classes are.

For what is done by the thousand, where a loop over the fields of a record takes twice as long.
"""

from collections.abc import Callable, Mapping, Sequence
from typing import Any


def compiled(argument: str, lines: Sequence[str], known: Mapping[str, Any]) -> Callable[[Any], Any]:
    """A function of one argument.

    Args:
        argument: its name.
        lines: the body.
        known: what stands for the other names in it.
    """
    space = dict(known)
    exec(f"def made({argument}):\n    " + "\n    ".join(lines), space)
    made: Callable[[Any], Any] = space["made"]
    return made
