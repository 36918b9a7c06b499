"""Records as rows: one mapper for each record, which both storages use.

The columns follow from the record's fields, so the selected columns and the fields read from them always agree. A `dict` or
`list` is JSON text, a field `…_json` is a column without that ending, any other field is stored as it is. Exceptions are passed
to the mapper. A new column of a record is a new field, and a column in the schema of each storage.
"""

import types
from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import Any, Generic, TypeVar, Union, get_args, get_origin

import msgspec
import orjson

from threadloom.codec import to_json
from threadloom.generated import compiled
from threadloom.large import read_json, write_json
from threadloom.storage.items import decode, encode
from threadloom.types import Assistant, Cron, Delivery, Event, ForkedFrom, Item, Outcome, Run, Thread, Ttl

R = TypeVar("R", bound=msgspec.Struct)

_QUOTED = {"user", "values"}
"""Columns whose names are reserved words of SQL."""


class Column(msgspec.Struct, frozen=True):
    """How a field is stored in a row.

    Attributes:
        names: the columns.
        read: returns the field from the values of the columns. None: the value is the field.
        write: returns the value of the column from the field; for several columns a tuple of values. None: the field is the
            value.
        nullable: whether the field is None, without a call of `read`, where the (last) column is NULL.
    """

    names: tuple[str, ...]
    read: Callable[..., Any] | None = None
    write: Callable[[Any], Any] | None = None
    nullable: bool = False


class Mapper(Generic[R]):
    """Converts records to rows and rows to records.

    Args:
        record: the struct.
        without: fields that are not stored.
        columns: how fields are stored, where this does not follow from their types.
    """

    def __init__(self, record: type[R], *, without: Sequence[str] = (), **columns: Column) -> None:
        fields = {
            field.name: columns.get(field.name) or _column(field.name, field.type)
            for field in msgspec.structs.fields(record)
            if field.name not in without
        }
        self.names = tuple(name for column in fields.values() for name in column.names)
        self.read: Callable[[Sequence[Any]], R] = _reader(record, fields)
        """Returns a record from the values of the columns, in the order of `names`."""
        self.values: Callable[[R], tuple[Any, ...]] = _writer(fields, "({},)", "{value}", "*{value}")
        """Returns the values of the columns of a record, in the order of `names`."""
        self.row: Callable[[R], dict[str, Any]] = _writer(
            fields, "{{{}}}", "{names[0]!r}: {value}", "**dict(zip({names!r}, {value}))"
        )
        """Returns the values of the columns of a record, by name."""

    def of(self, row: Mapping[str, Any]) -> R:
        """Returns the record of a row by name."""
        return self.read([row[name] for name in self.names])

    def columns(self, table: str = "", *, without: Iterable[str] = (), **instead: str) -> str:
        """Returns the columns, for a SELECT or an INSERT.

        Args:
            table: the alias of the table in the statement.
            without: columns to leave out.
            instead: SQL that replaces a column.
        """
        prefix = table and table + "."
        return ", ".join(instead.get(name, prefix + quoted(name)) for name in self.names if name not in without)

    def parameters(self, *, without: Iterable[str] = (), **instead: str) -> str:
        """Returns the parameters of an INSERT. They have the names of the columns. Args as in `columns`."""
        return ", ".join(instead.get(name, f":{name}") for name in self.names if name not in without)

    def changes(self, *, without: Iterable[str]) -> str:
        """Returns the assignments of an UPDATE."""
        return ", ".join(f"{quoted(name)} = :{name}" for name in self.names if name not in without)


def json_text(value: Any) -> str | None:
    """Returns a value as JSON text that is stored as it is; None stays None."""
    return None if value is None else to_json(value).decode()


def quoted(name: str) -> str:
    """Returns a column name as it is written in SQL."""
    return f'"{name}"' if name in _QUOTED else name


def _column(field: str, type_: Any) -> Column:
    kinds = get_args(type_) if get_origin(type_) in (Union, types.UnionType) else (type_,)
    if any(get_origin(kind) in (dict, list) for kind in kinds):
        return Column((field,), orjson.loads, json_text, nullable=type(None) in kinds)
    return Column((field.removesuffix("_json"),), bool if type_ is bool else None)


def _reader(record: type[R], fields: Mapping[str, Column]) -> Callable[[Sequence[Any]], R]:
    names: list[str] = []
    arguments: list[str] = []
    known: dict[str, Any] = {"record": record}
    for field, column in fields.items():
        values = [f"v{len(names) + number}" for number in range(len(column.names))]
        names += values
        if column.read is not None:
            known[f"read_{field}"] = column.read
        made = values[0] if column.read is None else f"read_{field}({', '.join(values)})"
        arguments.append(f"{field}=" + (f"None if {values[-1]} is None else {made}" if column.nullable else made))
    return compiled("row", [f"({', '.join(names)},) = row", f"return record({', '.join(arguments)})"], known)


def _writer(fields: Mapping[str, Column], form: str, one: str, several: str) -> Callable[[Any], Any]:
    known = {f"write_{field}": column.write for field, column in fields.items() if column.write is not None}
    parts = [
        (one if len(column.names) == 1 else several).format(
            names=column.names, value=f"record.{field}" if column.write is None else f"write_{field}(record.{field})"
        )
        for field, column in fields.items()
    ]
    return compiled("record", ["return " + form.format(", ".join(parts))], known)


def ttl_of(minutes: Any, strategy: Any, expires_at: int | None) -> Ttl | None:
    """Returns the time to live from these columns of a thread."""
    return None if expires_at is None else Ttl(minutes, strategy, expires_at)


def ttl_columns(ttl: Ttl | None) -> tuple[float | None, str | None, int | None]:
    """Returns the columns of a thread's time to live."""
    return (None, None, None) if ttl is None else (ttl.minutes, ttl.strategy, ttl.expires_at)


def _forked_from(text: str) -> ForkedFrom:
    return ForkedFrom(**orjson.loads(text))


def _fork_text(fork: ForkedFrom | None) -> str | None:
    return None if fork is None else json_text(msgspec.structs.asdict(fork))


def _text(stored: str | bytes) -> str:
    return stored if isinstance(stored, str) else stored.decode()


THREAD = Mapper(
    Thread,
    ttl=Column(("ttl_minutes", "ttl_strategy", "expires_at"), Ttl, ttl_columns, nullable=True),
    forked_from=Column(("forked_from",), _forked_from, _fork_text, nullable=True),
)
RUN = Mapper(
    Run,
    without=("encryption_context",),
    order=Column(("seq",)),
    kwargs=Column(("kwargs",), read_json, lambda kwargs: write_json(kwargs, to_json).decode()),
    user_id=Column(("user_id",), lambda user_id: user_id or ""),
)
OUTCOME = Mapper(Outcome)
EVENT = Mapper(Event)
ASSISTANT = Mapper(Assistant)
CRON = Mapper(Cron, without=("encryption_context",))
DELIVERY = Mapper(Delivery, body_json=Column(("body",), lambda body: body or b""))
ITEM = Mapper(Item, without=("score",), namespace=Column(("namespace",), decode, encode), key=Column(("key",), _text))

WITH_STATE = THREAD.columns("t", values='s."values"', interrupts="s.interrupts")
"""The columns of a thread, from `threads t` and `states s`."""

WITHOUT_STATE = THREAD.columns("t", values="NULL", interrupts="NULL")
"""The columns of a thread without its state, from `threads t`."""

WITHOUT_BODY = DELIVERY.columns(body="NULL")
"""The columns of a delivery without its body."""

_STATE = ("values", "interrupts")
_GIVEN = ("seq", "fence")
_LATER = ("updated_at",)
_MADE = ("cron_id", "assistant_id", "thread_id", "user_id", "user", "created_at")
_FIRED = ("last_fired_at", "last_run_id", "last_error")

LISTS: Mapping[str, str] = {
    "thread_with_state": WITH_STATE,
    "thread_without_state": WITHOUT_STATE,
    "new_thread": THREAD.columns(without=_STATE),
    "new_thread_values": THREAD.parameters(without=_STATE),
    "new_copy_values": THREAD.parameters(without=_STATE, thread_id="c.thread_id", metadata="c.metadata"),
    "run": RUN.columns(),
    "r.run": RUN.columns("r"),
    "new_run": RUN.columns(without=_GIVEN),
    "new_run_values": RUN.parameters(without=_GIVEN),
    "outcome": OUTCOME.columns(),
    "outcome_values": OUTCOME.parameters(),
    "event": EVENT.columns(),
    "event_values": EVENT.parameters(),
    "assistant": ASSISTANT.columns(),
    "assistant_values": ASSISTANT.parameters(),
    "assistant_changes": ASSISTANT.changes(without=("assistant_id", "version", "created_at")),
    "a.assistant": ASSISTANT.columns("a"),
    "version": ASSISTANT.columns(updated_at="created_at"),
    "new_version": ASSISTANT.columns(without=_LATER),
    "new_version_values": ASSISTANT.parameters(without=_LATER, created_at=":updated_at"),
    "new_version_made": ASSISTANT.columns(without=_LATER, created_at="updated_at"),
    "next_version_values": ASSISTANT.parameters(
        without=_LATER, created_at=":updated_at", version="coalesce(max(version), 0) + 1"
    ),
    "cron": CRON.columns(),
    "new_cron": CRON.columns(without=_FIRED),
    "new_cron_values": CRON.parameters(without=_FIRED),
    "cron_changes": CRON.changes(without=(*_MADE, *_FIRED)),
    "delivery_without_body": WITHOUT_BODY,
    "delivery": DELIVERY.columns(),
    "delivery_values": DELIVERY.parameters(),
    "item": ITEM.columns(),
    "item_values": ITEM.parameters(),
}
"""The replacements of `{name}` in the `.sql` files: columns, their parameters, and the assignments of an UPDATE."""
