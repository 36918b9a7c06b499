"""Shared by several verbs: the format of help, and the option that names the configuration."""

import argparse
from pathlib import Path
from typing import TYPE_CHECKING, Any, NoReturn

if TYPE_CHECKING:
    Verbs = argparse._SubParsersAction[argparse.ArgumentParser]

LOG_LEVELS = ("DEBUG", "INFO", "WARNING", "ERROR", "CRITICAL")


def add_verb(verbs: "Verbs", name: str, *, help: str, example: str, **more: Any) -> argparse.ArgumentParser:
    """Adds a verb's parser; its help ends with an example."""
    return verbs.add_parser(
        name,
        help=help,
        description=help[0].upper() + help[1:] + ".",
        epilog=f"example:\n  {example}",
        formatter_class=argparse.RawDescriptionHelpFormatter,
        **more,
    )


def add_config(parser: argparse.ArgumentParser) -> None:
    parser.add_argument(
        "-c", "--config", type=Path, metavar="FILE", help="the configuration file (default: langgraph.json)"
    )


def add_http(parser: argparse.ArgumentParser) -> None:
    """Adds the options for the HTTP server of every verb that serves."""
    parser.add_argument(
        "--server-log-level",
        choices=LOG_LEVELS,
        type=str.upper,
        default="WARNING",
        metavar="LEVEL",
        help="least level of the HTTP server's own log (default: WARNING)",
    )
    parser.add_argument("--ssl-certfile", type=Path, metavar="FILE", help="serve HTTPS with this certificate")
    parser.add_argument("--ssl-keyfile", type=Path, metavar="FILE", help="the key of the certificate")
    parser.add_argument(
        "--no-studio",
        dest="studio",
        action="store_const",
        const=False,
        help="do not serve the page /studio, whatever threadloom.studio says",
    )


def whole_number(text: str) -> int:
    """Parses an option that takes 0, 1, 2 …"""
    number = int(text)
    if number < 0:
        raise argparse.ArgumentTypeError(f"must not be negative, got {text}")
    return number


class _Refused(argparse.Action):
    """An option of the reference's command line that is not supported here."""

    def __call__(self, parser: argparse.ArgumentParser, *given: Any) -> NoReturn:
        parser.error(f"{self.option_strings[0]} is not supported: {self.const}")


def add_refused(parser: argparse.ArgumentParser, option: str, why: str) -> None:
    """Adds an option of the reference's command line that fails with an explanation and is not shown in the help."""
    parser.add_argument(option, nargs="?", const=why, action=_Refused, help=argparse.SUPPRESS)
