"""No method of the storage goes past the encryption: each is either sealed, or named as one that carries no content."""

import inspect

import pytest

from threadloom.encryption import content, storage, tables
from threadloom.storage import base
from threadloom.storage.deliveries import Deliveries
from threadloom.storage.events import StoredEvents
from threadloom.storage.items import Items
from threadloom.storage.lineage import Lineage
from threadloom.storage.tasks import Tasks

TABLES = {
    base.Threads: tables.SealedThreads,
    base.Runs: tables.SealedRuns,
    base.Events: tables.SealedEvents,
    base.Assistants: tables.SealedAssistants,
    base.Crons: tables.SealedCrons,
    Tasks: tables.SealedTasks,
    Deliveries: tables.SealedDeliveries,
    Items: content.SealedItems,
    Lineage: content.SealedLineage,
}


def methods(kind):
    own = kind.__mro__ if kind is Lineage else (kind,)
    everything = {name: value for part in reversed(own) for name, value in vars(part).items()}
    return {name: value for name, value in everything.items() if inspect.isfunction(value) and not name.startswith("_")}


def to_seal(protocol):
    """The methods of a protocol. Of events they are those that read rows as they are stored: the others restore these."""
    if protocol is not base.Events:
        return methods(protocol)
    stored, public = methods(StoredEvents), methods(protocol)
    return {name: method for name, method in (stored | public).items() if not (name in stored and name in public)}


@pytest.mark.parametrize("protocol", TABLES, ids=lambda protocol: protocol.__name__)
def test_every_method_is_sealed_or_carries_no_content(protocol):
    sealed = TABLES[protocol]
    assert to_seal(protocol).keys() == methods(sealed).keys() | set(sealed.PLAIN)
    assert methods(sealed).keys().isdisjoint(sealed.PLAIN)


@pytest.mark.parametrize("protocol", TABLES, ids=lambda protocol: protocol.__name__)
def test_sealed_methods_take_what_the_storage_takes(protocol):
    sealed = methods(TABLES[protocol])
    for name, method in to_seal(protocol).items():
        if name in sealed:
            assert str(inspect.signature(sealed[name]).parameters) == str(inspect.signature(method).parameters)


def test_every_table_of_a_transaction_is_there():
    public = {name for name in vars(base.Tx) if not name.startswith("_")}
    assert public == {name for name in vars(storage.SealedTx) if not name.startswith("_")}
