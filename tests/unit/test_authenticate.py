"""The authenticate handler: what it may ask for, what it may return, what its exceptions mean.

See docs/contract/auth.md#authentication.
"""

import threading
from typing import Annotated

import pytest
from fastapi import Depends, Header
from fastapi.security import HTTPBearer
from langgraph_sdk import Auth
from starlette.exceptions import HTTPException
from starlette.requests import Request

from tests.clocks import ManualClock
from threadloom.auth.authenticate import HandlerAuthenticator
from threadloom.auth.user import User, kept, studio_user, user_of
from threadloom.config.settings import AuthCache
from threadloom.errors import ConfigError, Denied

pytestmark = pytest.mark.anyio


SCHEME = Depends(HTTPBearer())


class Asking:
    """A request of a test."""

    def __init__(self, scope=None, **values):
        self._headers = values.pop("headers", {})
        self._values = {"authorization": "Bearer a", "method": "GET", "path": "/threads", "headers": {}, **values}
        raw = [(name, value) for name, value in self._headers.items()]
        self._scope = {"type": "http", "method": "GET", "path": "/", "query_string": b"", "headers": raw}

    async def give(self, name):
        if name == "request":
            return Request(self._scope)
        return self._values[name]

    def header(self, name):
        return self._headers.get(name)

    def secrets(self):
        return ["Bearer a-secret"]


def authenticator(handler, cache=None, clock=None):
    auth = Auth()
    auth.authenticate(handler)
    return HandlerAuthenticator(auth, clock or ManualClock(), cache)


async def user(handler, **values):
    return await authenticator(handler).user(Asking(**values))


# --- parameters ---


async def test_parameters_are_given_by_name_in_any_order():
    async def who(path, authorization, *rest, method: str = "none", other="mine", **more):
        return f"{method} {path} {authorization} {other} {rest} {more}"

    assert (await user(who)).identity == "GET /threads Bearer a mine () {}"


async def test_an_object_with_an_async_call_and_a_method_can_be_handlers():
    class Door:
        async def __call__(self, path):
            return path

        async def method(self, path):
            return path

    assert (await user(Door())).identity == "/threads"
    assert (await user(Door().method)).identity == "/threads"


async def test_a_plain_handler_runs_on_a_thread():
    def who(path):
        return f"{path} {threading.current_thread() is threading.main_thread()}"

    assert (await user(who)).identity == "/threads False"


@pytest.mark.parametrize("what", ["token", "x, credentials"])
def test_parameters_that_nobody_can_give_are_told_at_once(what):
    scope = {}
    exec(f"async def who({what}, path): ...", scope)
    with pytest.raises(ConfigError, match=f"asks for {what}; it may ask by name for authorization, body, headers"):
        authenticator(scope["who"])


def test_an_auth_object_without_a_handler_is_told_at_once():
    with pytest.raises(ConfigError, match=r"no @auth\.authenticate handler"):
        HandlerAuthenticator(Auth(), ManualClock())


async def bearer(authorization: Annotated[str | None, Header()] = None):
    return (authorization or "").removeprefix("Bearer ")


async def test_what_depends_is_solved_by_fastapi():
    entered = []

    async def session():
        entered.append("in")
        yield "session"
        entered.append("out")

    needed = Depends(session)

    async def who(path: str, token: Annotated[str, Depends(bearer)], used=needed, scheme=SCHEME):
        assert entered == ["in"]
        return f"{path} {token} {used} {scheme.credentials}"

    found = await user(who, headers={b"authorization": b"Bearer tok"})
    assert found.identity == "/threads tok session tok"
    assert entered == ["in", "out"]


async def test_a_dependency_that_refuses_is_a_refusal():
    async def who(scheme=SCHEME):
        raise AssertionError("never asked")

    with pytest.raises(Denied) as refused:
        await user(who)
    assert refused.value.status in (401, 403)


# --- what comes back ---


class Account:
    identity = 7
    team = "blue"
    display_name = "Seven"


@pytest.mark.parametrize(
    ("returned", "identity", "name", "permissions"),
    [
        ("ann", "ann", "ann", []),
        ({"identity": "ann"}, "ann", "ann", []),
        ({"identity": 7, "display_name": "Ann", "permissions": ["p"]}, 7, "Ann", ["p"]),
        (Account(), 7, "Seven", []),
        ((["p", "q"], "ann"), "ann", "ann", ["p", "q"]),
        ((["p"], {"identity": "ann", "permissions": ["x"]}), "ann", "ann", ["p"]),
        ((("p",), Account()), 7, "Seven", ["p"]),
    ],
    ids=lambda value: type(value).__name__,
)
def test_a_user_may_be_returned_in_many_forms(returned, identity, name, permissions):
    found = user_of(returned)
    assert (found.identity, found.display_name, found.permissions) == (identity, name, permissions)
    assert found.is_authenticated is True
    assert kept(found) == {"identity": identity, "display_name": name, "permissions": permissions}


@pytest.mark.parametrize(
    "returned", [None, 7, [], {}, {"identity": None}, ("ann",), (["p"], None), (1, "ann"), object()]
)
async def test_what_is_no_user_is_a_fault_of_the_server(returned):
    async def who():
        return returned

    with pytest.raises(Denied) as refused:
        await user(who)
    assert refused.value.status == 500


def test_a_user_is_one_object_in_every_way_of_looking():
    found = user_of({"identity": "ann", "email": "a@b.c", "get": 1})
    assert (found.email, found["email"], found.get("email"), found.get("none", 2)) == ("a@b.c", "a@b.c", "a@b.c", 2)
    assert "email" in found
    assert "none" not in found
    assert 7 not in found
    assert list(found) == ["identity", "is_authenticated", "display_name", "email", "get"]
    assert dict(found) == {
        "identity": "ann",
        "is_authenticated": True,
        "display_name": "ann",
        "email": "a@b.c",
        "get": 1,
    }
    assert found["permissions"] == []
    assert isinstance(found, Auth.types.BaseUser)
    with pytest.raises(KeyError):
        found["none"]
    with pytest.raises(AttributeError):
        _ = found.none
    assert repr(found) == "User('ann')"


def test_an_object_stays_readable():
    found = user_of(Account())
    assert (found.team, found["team"], "team" in found) == ("blue", "blue", True)
    assert dict(found)["permissions"] == []


def test_studio_is_known_by_its_class_and_is_used_as_any_user():
    found = studio_user()
    assert isinstance(found, Auth.types.StudioUser)
    assert (found.identity, found["identity"], found.permissions) == ("langgraph-studio-user",) * 2 + ([],)
    assert dict(found)["display_name"] == "langgraph-studio-user"


async def test_who_is_not_authenticated_is_refused():
    async def who():
        return {"identity": "ann", "is_authenticated": False}

    with pytest.raises(Denied) as refused:
        await user(who)
    assert (refused.value.status, refused.value.content) == (401, "Unauthorized")


# --- exceptions ---


@pytest.mark.parametrize(
    ("error", "status", "content", "headers"),
    [
        (Auth.exceptions.HTTPException(), 401, "Unauthorized", {}),
        (Auth.exceptions.HTTPException(403, "no"), 403, "no", {}),
        (Auth.exceptions.HTTPException(429, {"in": 7}, {"Retry-After": 7}), 429, {"in": 7}, {"Retry-After": "7"}),
        (HTTPException(429, "slow", {"Retry-After": "7"}), 429, "slow", {"Retry-After": "7"}),
        (Auth.exceptions.HTTPException(200, "come in"), 500, "Internal server error. The log tells more.", {}),
        (AssertionError("the secret"), 401, "Unauthorized", {}),
        (RuntimeError("the secret"), 500, "Internal server error. The log tells more.", {}),
    ],
    ids=repr,
)
async def test_what_a_handler_raises(error, status, content, headers):
    async def who():
        raise error

    with pytest.raises(Denied) as refused:
        await user(who)
    assert (refused.value.status, refused.value.content, refused.value.headers) == (status, content, headers)


async def test_the_log_tells_what_failed_without_the_credentials(caplog):
    async def who():
        raise RuntimeError("cannot check Bearer a-secret")

    with pytest.raises(Denied):
        await user(who)
    assert "RuntimeError: cannot check ***" in caplog.text
    assert "a-secret" not in caplog.text


# --- the cache ---


async def test_a_user_is_known_again_for_a_while():
    clock, asked = ManualClock(), []

    async def who(path):
        asked.append(path)
        return path

    door = authenticator(who, AuthCache(cache_keys=("X-Key", "X-Other"), ttl_seconds=10, max_size=2), clock)

    async def come(path, **headers):
        return (await door.user(Asking(path=path, headers={k.encode(): v for k, v in headers.items()}))).identity

    assert await come("/1", **{"x-key": b"a"}) == "/1"
    assert await come("/2", **{"x-key": b"a"}) == "/1"
    assert await come("/3", **{"x-key": b"b"}) == "/3"
    assert await come("/4", **{"x-other": b"a"}) == "/4", "another header with the same value is another user"
    assert await come("/5", **{"x-key": b"a"}) == "/5", "the oldest went when there were too many"
    clock.move(11)
    assert await come("/6", **{"x-key": b"a"}) == "/6"
    assert asked == ["/1", "/3", "/4", "/5", "/6"]


async def test_who_has_none_of_the_headers_is_never_known_again():
    names = iter("ab")

    async def who():
        return next(names)

    door = authenticator(who, AuthCache(cache_keys=("x-key",)))
    assert [(await door.user(Asking())).identity for _ in range(2)] == ["a", "b"]


async def test_who_was_refused_is_asked_again():
    answers = iter([Auth.exceptions.HTTPException(), None])

    async def who():
        if error := next(answers):
            raise error
        return "ann"

    door = authenticator(who, AuthCache(cache_keys=("x-key",)))
    with pytest.raises(Denied):
        await door.user(Asking(headers={b"x-key": b"a"}))
    assert (await door.user(Asking(headers={b"x-key": b"a"}))).identity == "ann"


def test_what_is_kept_of_a_user_makes_one_again():
    whole = user_of({"identity": 7, "display_name": "Seven", "permissions": ("p",), "token": "secret"})
    again = User(**kept(whole))
    assert (again.identity, again.display_name, again.permissions) == (7, "Seven", ["p"])
    assert "token" not in again
