"""The parser of the command line: argparse, with suggestions for words that it does not know."""

import argparse
import difflib
from collections.abc import Iterable, Sequence
from typing import Any, NoReturn


class Parser(argparse.ArgumentParser):
    """Suggests the nearest command, choice or option where a word is unknown. Parsers of commands are of this class too."""

    def parse_args(  # type: ignore[override]
        self, args: Sequence[str] | None = None, namespace: argparse.Namespace | None = None
    ) -> argparse.Namespace:
        """Parses the words. Ends the process with status 2 where they are wrong."""
        given, unknown = self.parse_known_args(args, namespace)
        if unknown:
            self._command(args or ()).refuse(unknown)
        return given

    def refuse(self, unknown: Sequence[str]) -> NoReturn:
        """Ends the process with a message about words that are no option or argument."""
        option = next((word.partition("=")[0] for word in unknown if word.startswith("-")), None)
        known = [name for name in self._option_string_actions if name.startswith("--")]
        hint = "" if option is None else _suggestion(option, known)
        self.error(f"unrecognized arguments: {' '.join(unknown)}{hint}")

    def _command(self, words: Sequence[str]) -> "Parser":
        """Returns the parser of the command that the words name."""
        for action in self._actions:
            if isinstance(action, argparse._SubParsersAction):
                for place, word in enumerate(words):
                    if word in action.choices:
                        found: Parser = action.choices[word]
                        return found._command(words[place + 1 :])
        return self

    def _check_value(self, action: argparse.Action, value: Any) -> None:
        if action.choices is not None and value not in action.choices:
            choices = [str(choice) for choice in action.choices]
            what = "command" if isinstance(action, argparse._SubParsersAction) else "value"
            text = f"there is no {what} {value!r}{_suggestion(str(value), choices)} ({', '.join(choices)})"
            raise argparse.ArgumentError(None if what == "command" else action, text)


def _suggestion(word: str, known: Iterable[str]) -> str:
    near = difflib.get_close_matches(word, list(known), n=1)
    return f". Did you mean {near[0]}?" if near else ""
