"""The pages of the command line say what it takes, and every command's help has an example that it understands."""

import re
import shlex

import pytest

from tests.docs.tables import DOCS, codes, rows
from threadloom.cli import VERBS, parser
from threadloom.cli.docs import commands, markdown, options

ALL = [command for command in commands(parser()) if command.prog != "threadloom"]


def test_the_page_of_options_is_current():
    assert (DOCS / "options.md").read_text() == markdown(), "run: python -m threadloom.cli.docs > docs/options.md"


def test_every_verb_is_introduced():
    verbs = [words[1] for command in ALL if len(words := command.prog.split()) == 2]
    assert len(verbs) == len(VERBS)
    assert sorted(codes(row[0])[0] for row in rows("cli.md", "Verb")) == sorted(verbs)


def test_every_option_that_the_guide_names_is_one():
    taken = {name for command in commands(parser()) for name in command._option_string_actions}
    guide = re.sub(r"docker [^`\n]*", "", (DOCS / "cli.md").read_text())
    named = set(re.findall(r"(?<![\w-])--[a-z][a-z-]+", guide))
    assert named - {"--help"} <= taken


@pytest.mark.parametrize("command", ALL, ids=lambda command: command.prog)
def test_every_command_has_help_with_an_example(command):
    _, _, text = command.format_help().partition("example:\n")
    assert text.strip().startswith(command.prog)


@pytest.mark.parametrize("command", ALL, ids=lambda command: command.prog)
def test_every_example_is_understood(command):
    for line in (command.epilog or "").splitlines()[1:]:
        for part in line.split("&&"):
            words = shlex.split(part)
            if words[0] == "threadloom":
                assert callable(parser().parse_args(words[1:]).run)


@pytest.mark.parametrize("command", ALL, ids=lambda command: command.prog)
def test_every_option_says_what_it_does(command):
    for option in options(command):
        assert option.help, f"{command.prog} {option.dest}"
