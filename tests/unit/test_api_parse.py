"""Bodies -> request structs."""

import orjson
import pytest

from threadloom.api.parse import MAX_DEPTH, load, parse
from threadloom.errors import BadRequest, Invalid
from threadloom.services.requests import (
    CancelRuns,
    CronCreate,
    HistoryQuery,
    ItemPut,
    RunCreate,
    StateAt,
    ThreadCopy,
    ThreadCreate,
    ThreadPrune,
    ThreadSearch,
)

UPPER = "01A20BE8-681C-74A1-ADE6-26E7B55CEB54"


def nested(levels):
    return b"[" * levels + b"]" * levels


@pytest.mark.parametrize(
    "body",
    [
        b"",
        b" ",
        b"{",
        b'{"a":1}{}',
        b"NaN",
        b'{"a":Infinity}',
        b"1e400",
        b'"\\ud800"',
        b'"\xff"',
        nested(100_000),
        b"[" * 100_000,
        b'{"a":' * 5000 + b"1" + b"}" * 5000,
    ],
    ids=range(12),
)
def test_what_is_no_json_is_refused(body):
    with pytest.raises(Invalid, match="Invalid JSON in request body") as refused:
        load(body)
    assert refused.value.status == 422


def test_nesting_is_limited_exactly():
    assert load(nested(MAX_DEPTH)) is not None
    with pytest.raises(Invalid, match="nested deeper than 200 levels"):
        load(nested(MAX_DEPTH + 1))
    assert load(b"[" + b",".join([b"[]"] * 1000) + b"]") == [[]] * 1000


def test_brackets_inside_of_texts_are_no_nesting():
    assert load(orjson.dumps("[" * 1000)) == "[" * 1000


def test_nul_becomes_the_replacement_character_in_keys_and_values():
    assert load(b'{"a\\u0000":["\\u0000b"]}') == {"a\ufffd": ["\ufffdb"]}


def test_integers_beyond_64_bits_become_doubles():
    assert load(b"[18446744073709551615,18446744073709551616]") == [2**64 - 1, float(2**64)]


def test_a_whole_double_counts_as_an_integer():
    assert parse(b'{"limit":2.0,"offset":3.0}', ThreadSearch).limit == 2
    run = parse(b'{"assistant_id":"a","config":{"recursion_limit":7.0}}', RunCreate)
    assert run.config == {"recursion_limit": 7}
    assert isinstance(run.config["recursion_limit"], int)


@pytest.mark.parametrize("value", [b"2.5", b'"2"', b"true", b"null", b"0", b"1001", b"[]", b"1e30"])
def test_what_is_no_integer_in_range_is_refused_by_name(value):
    with pytest.raises(Invalid, match="limit"):
        parse(b'{"limit":' + value + b"}", ThreadSearch)


@pytest.mark.parametrize(
    ("type_", "body", "texts"),
    [
        (ThreadCreate, {"ttl": 5}, ["ttl", "5"]),
        (ThreadCreate, {"metadata": None}, ["metadata", "null"]),
        (ThreadCreate, {"supersteps": [{"updates": [{"values": {}}]}]}, ["as_node", "supersteps[0].updates[0]"]),
        (ThreadCreate, [], ["request body", "array"]),
        (ThreadCopy, {"checkpoint": "x"}, ["checkpoint"]),
        (ThreadSearch, {"extract": {"a": 5}}, ["extract", "5"]),
        (ThreadSearch, {"extract": {"a b": "values"}}, ["Extract key 'a b' must be a valid identifier"]),
        (ThreadSearch, {"extract": {"status": "values"}}, ["reserved field names: ['status']"]),
        (ThreadSearch, {"extract": {"a": "valuesx"}}, ["must start with one of: config, interrupts, metadata, values"]),
        (ThreadSearch, {"extract": {"a": ""}}, ["Extract path for 'a' must be a non-empty string"]),
        (ThreadSearch, {"ids": ["x"]}, ["Invalid thread ID: must be a UUID"]),
        (ThreadPrune, {"thread_ids": ["x"]}, ["Invalid thread ID: must be a UUID"]),
        (StateAt, {"checkpoint": {"checkpoint_id": 5}}, ["checkpoint.checkpoint_id", "5"]),
        (StateAt, {"checkpoint": {}, "select": ["value"]}, ["select", "value"]),
        (HistoryQuery, {"before": {"checkpoint_id": 5}}, ["before", "5"]),
        (RunCreate, {}, ["assistant_id"]),
        (RunCreate, {"assistant_id": "a", "command": {"goto": ["a", {"node": "b", "input": 1}]}}, ["command.goto"]),
        (RunCreate, {"assistant_id": "a", "command": {"update": 5}}, ["command.update"]),
        (RunCreate, {"assistant_id": "a", "checkpoint_id": "x y"}, ["Invalid checkpoint ID"]),
        (RunCreate, {"assistant_id": "a", "config": {"tags": "x"}}, ["config.tags", "'x'"]),
        (CancelRuns, {}, ["status", "run_ids"]),
        (CancelRuns, {"thread_id": UPPER, "run_ids": ["x"]}, ["Invalid run ID"]),
        (CronCreate, {"schedule": "* * * * *"}, ["assistant_id"]),
        (ItemPut, {"namespace": ["a"], "key": "k", "value": {}, "index": True}, ["index"]),
        (ItemPut, {"namespace": ["a"], "key": "", "value": {}}, ["key"]),
        (ItemPut, {"namespace": ["a", ""], "key": "k", "value": {}}, ["Namespace label ''"]),
    ],
)
def test_refusals_name_the_field(type_, body, texts):
    with pytest.raises(Invalid) as refused:
        parse(orjson.dumps(body), type_)
    assert refused.value.status == 422
    for text in texts:
        assert text in refused.value.detail


@pytest.mark.parametrize(
    ("namespace", "text"), [([], "Namespace cannot be empty."), (["langgraph", "a"], 'cannot be "langgraph"')]
)
def test_namespaces_that_cannot_be_written_are_a_bad_request(namespace, text):
    with pytest.raises(BadRequest, match=text):
        parse(orjson.dumps({"namespace": namespace, "key": "k", "value": {}}), ItemPut)


def test_ids_are_kept_in_canonical_spelling():
    assert parse(orjson.dumps({"thread_id": UPPER.replace("-", "")}), ThreadCreate).thread_id == UPPER.lower()
    assert parse(orjson.dumps({"ids": [UPPER]}), ThreadSearch).ids == [UPPER.lower()]


@pytest.mark.parametrize(
    "before", ["c1", {"checkpoint_id": "c1", "checkpoint_ns": ""}, {"configurable": {"checkpoint_id": "c1"}}]
)
def test_before_has_three_spellings(before):
    assert parse(orjson.dumps({"before": before}), HistoryQuery).before == "c1"


def test_stream_modes_are_a_list_without_repetitions():
    assert parse(b'{"assistant_id":"a"}', RunCreate).modes == ["values"]
    assert parse(b'{"assistant_id":"a","stream_mode":[]}', RunCreate).modes == ["values"]
    assert parse(b'{"assistant_id":"a","stream_mode":["custom","custom","debug"]}', RunCreate).modes == [
        "custom",
        "debug",
    ]


@pytest.mark.parametrize("goto", ["n", ["a", "b"], {"node": "a", "input": 1}, [{"node": "a", "input": None}], []])
def test_gotos_that_are_fine(goto):
    assert parse(orjson.dumps({"assistant_id": "a", "command": {"goto": goto}}), RunCreate).command == {"goto": goto}
