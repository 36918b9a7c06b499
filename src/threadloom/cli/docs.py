"""Writes `docs/options.md`: `python -m threadloom.cli.docs > docs/options.md`."""

import argparse
import sys
from collections.abc import Iterator

from threadloom.cli import parser


def commands(top: argparse.ArgumentParser) -> Iterator[argparse.ArgumentParser]:
    """Yields a parser and those of the commands below it, in the order of the help."""
    yield top
    for action in top._actions:
        if isinstance(action, argparse._SubParsersAction):
            for below in action.choices.values():
                yield from commands(below)


def options(command: argparse.ArgumentParser) -> list[argparse.Action]:
    """Returns the options of a command, without `--help` and the subcommands."""
    passed_over = (argparse._HelpAction, argparse._SubParsersAction)
    return [one for one in command._actions if not isinstance(one, passed_over) and one.help != argparse.SUPPRESS]


def markdown() -> str:
    """Returns the whole command line as one Markdown page."""
    lines = [
        "# Commands and their options",
        "",
        "Made from the command line by `python -m threadloom.cli.docs`; a test fails when it is out of date. `docs/cli.md` tells",
        "what the commands are for; which settings they read is in `docs/settings.md`.",
    ]
    for command in commands(parser()):
        taken = options(command)
        lines += ["", f"## `{command.prog}`", "", command.description or ""]
        if command.epilog and command.epilog.startswith("example:"):
            lines += ["", *(f"    {line.strip()}" for line in command.epilog.splitlines()[1:])]
        if taken:
            lines += ["", "| Option | Value | Effect |", "|---|---|---|"]
            lines += [f"| {_names(one)} | {_value(one)} | {_effect(one)} |" for one in taken]
    return "\n".join(lines) + "\n"


def _names(action: argparse.Action) -> str:
    names = action.option_strings or [str(action.metavar or action.dest).upper()]
    return ", ".join(f"`{name}`" for name in names)


def _value(action: argparse.Action) -> str:
    if action.nargs == 0:
        return "–"
    if action.metavar is None and action.choices is not None:
        return " \\| ".join(str(choice) for choice in action.choices)
    word = action.metavar or (action.type.__name__.strip("_") if isinstance(action.type, type) else "")
    needed = "" if not action.option_strings and action.nargs == "?" else ", required" if action.required else ""
    return f"{word or action.dest.replace('_', ' ')}{needed}".lower()


def _effect(action: argparse.Action) -> str:
    text = (action.help or "").replace("|", "\\|")
    return text[:1].upper() + text[1:]


if __name__ == "__main__":
    sys.stdout.write(markdown())
