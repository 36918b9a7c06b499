"""`threadloom validate`: checks a configuration without serving it."""

import argparse
import os
from collections.abc import Callable
from typing import TYPE_CHECKING

from threadloom.cli.options import add_config, add_verb

if TYPE_CHECKING:
    from threadloom.cli.options import Verbs
    from threadloom.config import Settings


def add(verbs: "Verbs") -> None:
    parser = add_verb(
        verbs,
        "validate",
        help="check a langgraph.json, and with --load the code it names",
        example="threadloom validate --config langgraph.json --load",
    )
    add_config(parser)
    parser.add_argument("--load", action="store_true", help="import the graphs and the other code that it names")
    parser.set_defaults(run=run)


def run(given: argparse.Namespace) -> int:
    """Prints the warnings, then that the configuration is valid. All errors are listed, not only the first.

    Raises:
        ConfigError: it cannot be used; the message lists every error.
    """
    from threadloom.config.load import name_of, read, report
    from threadloom.errors import ConfigError

    settings, faults = read(given.config, os.environ, env_file_required=False)
    for warning in settings.warnings:
        print(f"Warning: {warning}")
    told = []
    if given.load:
        told = load_all(settings)
    else:
        faults = [*faults, *settings.missing_files()]
    if faults:
        told.insert(0, report(name_of(settings), faults))
    if told:
        raise ConfigError("\n".join(told))
    where = f"Configuration file {settings.path}" if settings.path else "The configuration in the environment"
    count = len(settings.graphs)
    print(f"{where} is valid. ({count} {'graph' if count == 1 else 'graphs'} {'loaded' if given.load else 'found'})")
    return 0


def load_all(settings: "Settings") -> list[str]:
    """Imports all code that the configuration names, and returns an error for each part that cannot be used."""
    from threadloom.auth.load import load_access
    from threadloom.clock import SystemClock
    from threadloom.encryption.keys import keys_of
    from threadloom.errors import ConfigError
    from threadloom.graphs.bundles import load_bundles
    from threadloom.graphs.custom_store import CustomStore
    from threadloom.graphs.embeddings import load_index
    from threadloom.graphs.encryption import load_handlers
    from threadloom.graphs.load import load_app, load_object
    from threadloom.graphs.priority import load_assign
    from threadloom.graphs.registry import load_graphs

    index, own_store = settings.store.index, settings.store.path
    steps: list[Callable[[], object]] = [
        lambda: load_graphs(settings),
        lambda: load_access(settings, SystemClock()),
        lambda: keys_of(settings),
    ]
    if settings.http.app:
        steps.append(lambda: load_app(settings))
    if index is not None:
        steps.append(lambda: load_index(index, lambda spec: load_object(spec, settings)))
    if own_store is not None:
        steps.append(lambda: CustomStore(own_store, lambda spec: load_object(spec, settings)))
    steps += [lambda: load_handlers(settings), lambda: load_assign(settings)]
    if settings.ui:
        steps.append(lambda: load_bundles(settings))
    faults = []
    for step in steps:
        try:
            step()
        except ConfigError as error:
            faults.append(str(error))
    return faults
