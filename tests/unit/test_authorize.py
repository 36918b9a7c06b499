"""Which handler is in charge, and what its answer means (docs/contract/auth.md#authorization)."""

import datetime
import uuid

import pytest
from langgraph_sdk import Auth

from threadloom.auth.authorize import OPEN, Authorizer
from threadloom.auth.rules import rule
from threadloom.auth.user import User
from threadloom.errors import Denied
from threadloom.storage.filters import AllOf, AnyOf, Contains, Equals
from threadloom.types import SYSTEM, Caller

pytestmark = pytest.mark.anyio

ANN = User("ann", permissions=["p"])


def caller():
    return Caller(user_id="ann", user=ANN, permissions=ANN.permissions)


def answering(result):
    """A handler that always answers this, or raises it."""

    async def handler(ctx, value):
        if isinstance(result, BaseException):
            raise result
        return result

    return handler


async def asked(result, action="update", **value):
    auth = Auth()
    auth.on(answering(result))
    return await Authorizer(auth).ask(caller(), "threads", action, value)


# --- who is in charge ---

PATTERNS = [
    (lambda auth: auth.on.threads.read, "pair"),
    (lambda auth: auth.on.threads, "resource"),
    (lambda auth: auth.on(resources="*", actions="read"), "action"),
    (lambda auth: auth.on(actions=["search", "read"]), "listed action"),
    (lambda auth: auth.on, "global"),
]


@pytest.mark.parametrize("fewest", range(len(PATTERNS)))
async def test_the_most_specific_handler_is_in_charge(fewest):
    auth = Auth()
    names = []
    for register, name in PATTERNS[fewest:]:
        if name == "listed action" and "action" in names:
            continue
        register(auth)(answering({"by": name}))
        names.append(name)
    assert await Authorizer(auth).ask(caller(), "threads", "read", {}) == Equals("by", PATTERNS[fewest][1])


async def test_where_nobody_is_in_charge_the_default_holds():
    auth = Auth()
    auth.on.threads(answering(None))
    assert await Authorizer(auth).ask(caller(), "crons", "read", {}) is None
    with pytest.raises(Denied) as refused:
        await Authorizer(auth, default="deny").ask(caller(), "crons", "read", {})
    assert refused.value.status == 403
    assert await Authorizer(auth, default="deny").ask(caller(), "threads", "read", {}) is None


def test_what_stands_open_is_told(caplog):
    auth = Auth()
    Authorizer(auth).warn()
    assert caplog.text == "", "with an authenticate handler alone it is meant so"
    auth.on.threads(answering(None))
    auth.on(resources="crons", actions=["create", "read", "update", "delete"])(answering(None))
    auth.on.store(answering(None))
    Authorizer(auth, default="deny").warn()
    assert caplog.text == ""
    Authorizer(auth).warn()
    assert "no handler is in charge of assistants.create, assistants.read" in caplog.text
    assert "crons.search:" in caplog.text
    assert "threads." not in caplog.text
    auth.on(answering(None))
    assert Authorizer(auth).uncovered() == []


# --- who is asked ---


async def test_nobody_gets_through_whom_nobody_knows():
    authorizer = Authorizer(Auth())
    with pytest.raises(Denied):
        await authorizer.ask(Caller(), "threads", "read", {})
    assert await authorizer.ask(SYSTEM, "threads", "read", {}) is None
    assert (authorizer.asks(Caller()), authorizer.asks(SYSTEM), authorizer.asks(caller())) == (True, False, True)
    assert await OPEN.ask(Caller(), "threads", "read", {}) is None


async def test_handlers_see_context_and_ids():
    auth, seen = Auth(), []

    @auth.on
    async def look(ctx, value):
        seen.append((ctx.resource, ctx.action, ctx.user, ctx.permissions, value))

    thread = str(uuid.uuid4())
    value = {"thread_id": thread, "run_id": None, "name": thread}
    await Authorizer(auth).ask(caller(), "threads", "delete", value)
    expected = {"thread_id": uuid.UUID(thread), "run_id": None, "name": thread}
    assert seen == [("threads", "delete", ANN, ["p"], expected)]


async def test_whether_one_record_may_be_read_is_asked_once_a_request():
    auth, count = Auth(), []

    @auth.on
    async def look(ctx, value):
        count.append(ctx.action)
        return {"n": len(count)}

    authorizer, one = Authorizer(auth), caller()
    thread, other = str(uuid.uuid4()), str(uuid.uuid4())
    rules = [await authorizer.ask(one, "threads", "read", {"thread_id": which}) for which in (thread, thread, other)]
    assert [rule.value for rule in rules] == [1, 1, 2]
    assert (await authorizer.ask(one.again(), "threads", "read", {"thread_id": thread})).value == 3
    assert (await authorizer.ask(caller(), "threads", "read", {"thread_id": thread})).value == 4
    for _ in range(2):
        await authorizer.ask(one, "threads", "update", {"thread_id": thread})
    assert count == ["read"] * 4 + ["update"] * 2


# --- answers ---


@pytest.mark.parametrize("result", [None, True])
async def test_yes(result):
    assert await asked(result) is None


@pytest.mark.parametrize(
    ("result", "status", "detail"),
    [
        (False, 403, "Forbidden"),
        (AssertionError("not yours"), 403, "not yours"),
        (AssertionError(), 403, "Forbidden"),
        (Auth.exceptions.HTTPException(418, "tea"), 418, "tea"),
        (Auth.exceptions.HTTPException(409, {"a": 1}), 409, '{"a": 1}'),
        (RuntimeError("the secret"), 500, "Internal server error. The log tells more."),
        (
            "yes",
            500,
            "Auth handler returned invalid result. Expected filter dict, None, or boolean. Got <class 'str'> instead.",
        ),
        (
            1,
            500,
            "Auth handler returned invalid result. Expected filter dict, None, or boolean. Got <class 'int'> instead.",
        ),
    ],
    ids=repr,
)
async def test_no(result, status, detail):
    with pytest.raises(Denied) as refused:
        await asked(result)
    assert (refused.value.status, refused.value.detail) == (status, detail)


async def test_what_failed_is_told_to_the_log_without_what_the_user_holds(caplog):
    auth = Auth()

    @auth.on
    async def fail(ctx, value):
        raise RuntimeError(f"{ctx.user.identity} with {ctx.user.token} and {ctx.user.more}")

    user = User("ann-the-first", source={"identity": "ann-the-first", "token": "s3cr3t", "more": ["deeper"]})
    with pytest.raises(Denied):
        await Authorizer(auth).ask(Caller(user=user), "threads", "read", {})
    assert "ann-the-first with *** and ['***']" in caplog.text
    assert "handler of threads.read failed" in caplog.text


# --- filters ---


@pytest.mark.parametrize(
    ("filter", "expected"),
    [
        ({}, AllOf([])),
        ({"a": 1}, Equals("a", 1)),
        ({"a": None}, Equals("a", None)),
        ({"a": {"$eq": {"x": 1}}}, Equals("a", {"x": 1})),
        ({"a": {"$contains": "x"}}, Contains("a", ["x"])),
        ({"a": {"$contains": ("x", "y")}}, Contains("a", ["x", "y"])),
        ({"a": 1, "b": 2}, AllOf([Equals("a", 1), Equals("b", 2)])),
        ({"a": {"$eq": 1, "$contains": 2}}, AllOf([Equals("a", 1), Contains("a", [2])])),
        ({"$or": [{"a": 1}, {"b": 2}]}, AnyOf([Equals("a", 1), Equals("b", 2)])),
        ({"$and": ({"a": 1}, {}), "c": [1]}, AllOf([AllOf([Equals("a", 1), AllOf([])]), Equals("c", [1])])),
        ({"a": uuid.UUID(int=1)}, Equals("a", str(uuid.UUID(int=1)))),
        ({"a": ("x", datetime.date(2026, 1, 2))}, Equals("a", ["x", "2026-01-02"])),
    ],
    ids=repr,
)
def test_a_filter_becomes_a_rule(filter, expected):
    assert rule(filter) == expected


@pytest.mark.parametrize(
    ("filter", "why"),
    [
        ({"a": {"$in": [1]}}, r"unknown operator '\$in' of field 'a'"),
        ({"a": {"$eq": 1, "$ne": 2}}, r"unknown operator '\$ne'"),
        ({"$not": {"a": 1}}, r"unknown operator '\$not'"),
        ({"$eq": 1}, r"unknown operator '\$eq'"),
        ({"o": {"x": 2}}, "unknown operator 'x'"),
        ({"a": {}}, "empty condition"),
        ({1: 2}, "a field must be text"),
        ({"$or": []}, r"The \$or operator must be a list of at least 2 filter objects"),
        ({"$or": [{"a": 1}]}, r"The \$or operator must be a list of at least 2 filter objects"),
        ({"$and": {"a": 1, "b": 2}}, r"The \$and operator must be a list of at least 2 filter objects"),
        ({"$and": [{"a": 1}, None]}, r"The \$and operator must be a list of at least 2 filter objects"),
        ({"$or": [{"a": 1}, {"b": {"$gt": 1}}]}, r"unknown operator '\$gt'"),
    ],
    ids=repr,
)
async def test_what_is_no_filter_lets_nobody_through(filter, why):
    with pytest.raises(Denied, match=why) as refused:
        await asked(filter)
    assert refused.value.status == 500
