"""JSON Schema of what the server answers. What it takes is described by the request structs themselves."""

from typing import Any

Schema = dict[str, Any]

TEXT: Schema = {"type": "string"}
WHOLE: Schema = {"type": "integer"}
OBJECT: Schema = {"type": "object"}
TEXTS: Schema = {"type": "array", "items": TEXT}
ID: Schema = {"type": "string", "format": "uuid"}
MOMENT: Schema = {"type": "string", "format": "date-time"}
ANY: Schema = {}


def _or_null(schema: Schema) -> Schema:
    return {"anyOf": [schema, {"type": "null"}]}


def _object(description: str, fields: dict[str, Schema], *, optional: tuple[str, ...] = ()) -> Schema:
    required = [name for name in fields if name not in optional]
    return {"type": "object", "description": description, "properties": fields, "required": required}


def _selectable(description: str, fields: dict[str, Schema]) -> Schema:
    """An object of which a request may `select` some fields."""
    return {"type": "object", "description": description, "properties": fields}


def _ref(name: str) -> Schema:
    return {"$ref": f"#/components/schemas/{name}"}


def _list(schema: Schema) -> Schema:
    return {"type": "array", "items": schema}


_VERSION: dict[str, Schema] = {
    "assistant_id": ID,
    "graph_id": TEXT,
    "config": OBJECT,
    "context": OBJECT,
    "metadata": OBJECT,
    "name": TEXT,
    "description": _or_null(TEXT),
    "version": WHOLE,
    "created_at": MOMENT,
}
_BYTES = _object("How many, and their bytes.", {"count": WHOLE, "bytes": WHOLE})
_GRAPH_SCHEMAS: dict[str, Schema] = {
    name: _or_null(OBJECT)
    for name in ("input_schema", "output_schema", "state_schema", "config_schema", "context_schema")
}

_DELIVERY: dict[str, Schema] = {
    "delivery_id": ID,
    "run_id": ID,
    "thread_id": ID,
    "url": TEXT,
    "status": {"enum": ["pending", "delivered", "failed"]},
    "created_at": MOMENT,
    "updated_at": MOMENT,
    "next_try_at": _or_null(MOMENT),
    "tries_left": WHOLE,
    "tries": _list(_object("A try.", {"at": MOMENT, "status": _or_null(WHOLE), "error": _or_null(TEXT)})),
}

SCHEMAS: dict[str, Schema] = {
    "Error": _object("Why a request was refused.", {"detail": TEXT}),
    "ProtocolError": _selectable(
        "Why what came is no command: `detail` when it is no JSON, else the protocol's own envelope.",
        {"type": {"const": "error"}, "id": ANY, "error": TEXT, "message": TEXT, "detail": TEXT},
    ),
    "RpcRefusal": _object("Why a message was refused before it was understood.", {"error": ANY}),
    "RunError": _object("How a run failed.", {"__error__": _object("What and why.", {"error": TEXT, "message": TEXT})}),
    "Thread": _selectable(
        "A conversation. `values` are those of the latest state as of the last run end or state update.",
        {
            "thread_id": ID,
            "created_at": MOMENT,
            "updated_at": MOMENT,
            "state_updated_at": MOMENT,
            "metadata": OBJECT,
            "status": {"enum": ["idle", "busy", "interrupted", "error"]},
            "config": OBJECT,
            "values": ANY,
            "interrupts": OBJECT,
            "error": _or_null(OBJECT),
            "forked_from": _object(
                "Where a copy came from.", {"thread_id": ID, "checkpoint_id": _or_null(TEXT), "at": MOMENT}
            ),
            "ttl": _object(
                "When it goes.", {"strategy": TEXT, "ttl_minutes": {"type": "number"}, "expires_at": MOMENT}
            ),
            "extracted": OBJECT,
        },
    ),
    "ThreadState": _selectable(
        "A checkpoint as a graph reads it. With `select`, only the fields asked for.",
        {
            "values": ANY,
            "next": TEXTS,
            "tasks": _list(OBJECT),
            "metadata": _or_null(OBJECT),
            "created_at": _or_null(TEXT),
            "checkpoint": _or_null(OBJECT),
            "parent_checkpoint": _or_null(OBJECT),
            "interrupts": _list(OBJECT),
            "checkpoint_id": _or_null(TEXT),
            "parent_checkpoint_id": _or_null(TEXT),
        },
    ),
    "StateWritten": _object(
        "The checkpoint that was written.", {"checkpoint": OBJECT, "configurable": OBJECT, "checkpoint_id": TEXT}
    ),
    "Pruned": _object("How many threads were pruned.", {"pruned_count": WHOLE}),
    "ThreadStorage": _object(
        "What a thread's history takes up; `shared_bytes` of it are inherited.",
        {
            "thread_id": ID,
            "total_bytes": WHOLE,
            "checkpoints": _BYTES,
            "channel_values": OBJECT,
            "pending_writes": _BYTES,
            "shared_bytes": WHOLE,
        },
        optional=("shared_bytes",),
    ),
    "Run": _selectable(
        "One execution of an assistant.",
        {
            "run_id": ID,
            "thread_id": ID,
            "assistant_id": ID,
            "metadata": OBJECT,
            "status": {"enum": ["pending", "running", "success", "error", "timeout", "interrupted"]},
            "kwargs": OBJECT,
            "multitask_strategy": {"enum": ["reject", "enqueue", "interrupt", "rollback"]},
            "created_at": MOMENT,
            "updated_at": MOMENT,
            "langsmith_session_name": _or_null(TEXT),
        },
    ),
    "Assistant": _selectable(
        "A graph with a configuration, in its current version.",
        {**_VERSION, "updated_at": MOMENT},
    ),
    "AssistantVersion": _object("A version of an assistant.", _VERSION),
    "Drawing": _object("Nodes and edges of a graph.", {"nodes": _list(OBJECT), "edges": _list(OBJECT)}),
    "Schemas": _object("JSON schemas of a graph.", {"graph_id": TEXT, **_GRAPH_SCHEMAS}),
    "Subgraphs": {
        "type": "object",
        "description": "Schemas by namespace.",
        "additionalProperties": _object("JSON schemas of a subgraph.", _GRAPH_SCHEMAS),
    },
    "Item": _object(
        "A value in the long-term store. `score` tells its likeness to a search's query.",
        {
            "namespace": TEXTS,
            "key": TEXT,
            "value": OBJECT,
            "created_at": MOMENT,
            "updated_at": MOMENT,
            "score": _or_null({"type": "number"}),
        },
        optional=("score",),
    ),
    "FoundItems": _object("Items found.", {"items": _list(_ref("Item"))}),
    "Namespaces": _object("Namespaces, each a list of labels.", {"namespaces": _list(TEXTS)}),
    "Cron": _selectable(
        "A schedule that makes runs. The `last_…` fields tell of its latest firing.",
        {
            "cron_id": ID,
            "assistant_id": ID,
            "thread_id": _or_null(ID),
            "user_id": TEXT,
            "schedule": TEXT,
            "timezone": _or_null(TEXT),
            "end_time": _or_null(TEXT),
            "payload": OBJECT,
            "next_run_date": _or_null(MOMENT),
            "metadata": OBJECT,
            "on_run_completed": {"enum": ["delete", "keep", None]},
            "enabled": {"type": "boolean"},
            "created_at": MOMENT,
            "updated_at": MOMENT,
            "last_fired_at": _or_null(MOMENT),
            "last_run_id": _or_null(ID),
            "last_error": _or_null(TEXT),
        },
    ),
    "Delivery": _object("What a webhook is told of a run's end, and how the tries went.", _DELIVERY),
    "DeliveryInFull": _object(
        "A delivery with what is told, but for `webhook_sent_at`.", {**_DELIVERY, "payload": OBJECT}
    ),
    "Health": _object(
        "Whether the server is well.", {"ok": {"type": "boolean"}, "services": OBJECT}, optional=("services",)
    ),
    "Info": _object(
        "Versions and features. `reload` is there while the app's code is watched: which generation of it serves since when, "
        "and why what was changed last cannot be served.",
        {"version": TEXT, "langgraph_py_version": TEXT, "flags": OBJECT, "host": OBJECT, "reload": OBJECT},
        optional=("reload",),
    ),
}
