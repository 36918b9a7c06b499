"""`threadloom completion`: prints a script that completes commands and options in a shell."""

import argparse
from typing import TYPE_CHECKING

from threadloom.cli.options import add_verb

if TYPE_CHECKING:
    from threadloom.cli.options import Verbs

SHELLS = ("bash", "zsh", "fish")


def add(verbs: "Verbs") -> None:
    parser = add_verb(
        verbs,
        "completion",
        help="print a script that completes commands and options in your shell",
        example="threadloom completion zsh",
    )
    parser.add_argument("shell", choices=SHELLS, help="the shell (docs/cli.md says where its scripts belong)")
    parser.set_defaults(run=run)


def run(given: argparse.Namespace) -> int:
    from argcomplete.shell_integration import shellcode

    print(shellcode(["threadloom"], shell=given.shell))
    return 0
