"""The command line: one module for each verb. `threadloom VERB --help` explains each with an example.

Verbs import their dependencies when they run, so that `--help` is fast.
"""

import argparse
import io
import os
import sys
from collections.abc import Callable, Sequence
from pathlib import Path

from threadloom import __version__
from threadloom.cli import (
    build,
    completion,
    db,
    dev,
    dockerfile,
    importing,
    init,
    serve,
    threads,
    ui,
    validate,
    webhooks,
)
from threadloom.cli.parser import Parser
from threadloom.errors import ConfigError, StartError, ThreadloomError

VERBS = (dev, serve, init, validate, threads, webhooks, db, ui, importing, dockerfile, build, completion)


ELSEWHERE = {
    "up": "`threadloom dockerfile Dockerfile --add-docker-compose`, then `docker compose up --build`",
    "new": "`threadloom init PATH`",
    "deploy": "`threadloom build -t TAG`; where the image runs is up to you (docs/deploying.md)",
}
"""Commands of the reference's command line, and their equivalents here."""


STATUSES = """\
exit statuses:
  0    success
  1    the command failed: port taken, server not reachable, threads differ
  2    the command line, the configuration or a graph is wrong
  130  interrupted with Ctrl-C"""

FIRST = f"""\
Threadloom {__version__}: an agent server for LangGraph graphs.

  threadloom init my-app     makes a new app in the folder my-app
  threadloom dev             serves the app of this folder while you write it
  threadloom serve           serves it for others
  threadloom threads list    shows the threads of a running server

{{here}}
`threadloom --help` lists all commands, `threadloom COMMAND --help` explains one."""


def parser() -> Parser:
    """Returns the parser of the whole command line, with all verbs."""
    top = Parser(
        prog="threadloom",
        description="An open-source agent server for LangGraph graphs, with copy-on-write threads.",
        epilog=f"Begin with:  threadloom init my-app && cd my-app && threadloom dev\n\n{STATUSES}",
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    top.add_argument("--version", action="version", version=f"threadloom {__version__}")
    verbs = top.add_subparsers(title="commands", metavar="COMMAND", required=True)
    for verb in VERBS:
        verb.add(verbs)
    return top


def main(arguments: Sequence[str] | None = None) -> int:
    """Runs a command.

    Args:
        arguments: the arguments after `threadloom`; the process's own when None.

    Returns:
        the exit status.
    """
    for stream in (sys.stdout, sys.stderr):
        # User code is imported here and may print characters that the terminal's encoding lacks; this must not end the process.
        if isinstance(stream, io.TextIOWrapper):
            stream.reconfigure(errors="backslashreplace", line_buffering=True)
    words = list(sys.argv[1:] if arguments is None else arguments)
    if "_ARGCOMPLETE" in os.environ:
        import argcomplete

        argcomplete.autocomplete(parser())
    if not words:
        found = Path("langgraph.json").is_file()
        here = "This folder has a langgraph.json." if found else "This folder has no langgraph.json."
        print(FIRST.format(here=here))
        return 0
    if words[0] in ELSEWHERE:
        print(f"Error: there is no command {words[0]!r}. In its place: {ELSEWHERE[words[0]]}.", file=sys.stderr)
        return 2
    given = parser().parse_args(words)
    run: Callable[[argparse.Namespace], int] = given.run
    try:
        return run(given)
    except ConfigError as error:
        print(f"Error: {error}", file=sys.stderr)
        return 2
    except (StartError, ThreadloomError) as error:
        print(f"Error: {error}", file=sys.stderr)
        return 1
    except KeyboardInterrupt:
        return 130
    except BrokenPipeError:
        sys.stderr.close()
        return 1
