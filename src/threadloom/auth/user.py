"""Users: the results of authenticate handlers, in the form that handlers and graphs see (docs/contract/auth.md#users)."""

from collections.abc import Iterator, Mapping, Sequence
from typing import Any

from langgraph_sdk import Auth

from threadloom.codec import from_json, to_json

NAME = "langgraph-studio-user"
EXPECTED = "Expected a BaseUser instance with required property: identity (str)"


class NoUserError(ValueError):
    """The result of an authenticate handler is no valid user."""


class User:
    """A user. Attributes, `user["key"]`, `in`, `get`, `keys`, iteration and `dict(user)` all show the same entries.

    Args:
        identity: any value that the handler returns; it need not be text.
        display_name: None: the identity.
        permissions: for authorize handlers; the server does not interpret them.
        source: the mapping or object that the handler returned; its other entries are shown too.
    """

    def __init__(
        self,
        identity: Any,
        display_name: Any = None,
        permissions: Sequence[Any] = (),
        *,
        is_authenticated: bool = True,
        source: Any = None,
    ) -> None:
        self.identity = identity
        self.display_name = identity if display_name is None else display_name
        self.permissions = list(permissions)
        self.is_authenticated = is_authenticated
        self._source = source

    def __getattr__(self, name: str) -> Any:
        if not name.startswith("_"):
            source = self._source
            if isinstance(source, Mapping):
                if name in source:
                    return source[name]
            elif source is not None and hasattr(source, name):
                return getattr(source, name)
        raise AttributeError(f"the user has no {name!r}")

    def __getitem__(self, key: str) -> Any:
        if key in ("identity", "is_authenticated", "display_name", "permissions"):
            return getattr(self, key)
        if isinstance(self._source, Mapping):
            return self._source[key]
        try:
            return getattr(self, key)
        except AttributeError:
            raise KeyError(key) from None

    def __contains__(self, key: object) -> bool:
        if not isinstance(key, str):
            return False
        try:
            self[key]
        except KeyError:
            return False
        return True

    def __iter__(self) -> Iterator[str]:
        return iter(self.keys())

    def __len__(self) -> int:
        return len(self.keys())

    def __eq__(self, other: object) -> bool:
        return isinstance(other, User) and dict(self) == dict(other)

    def __hash__(self) -> int:
        return hash(str(self.identity))

    def __repr__(self) -> str:
        # The other entries of a user must not be logged.
        return f"User({self.identity!r})"

    def get(self, key: str, default: Any = None) -> Any:
        """Returns the value of a key, or the default."""
        try:
            return self[key]
        except KeyError:
            return default

    def keys(self) -> list[str]:
        """Returns the keys: identity, `is_authenticated`, display name, then the other entries that the handler returned."""
        own = list(self._source) if isinstance(self._source, Mapping) else ["permissions"]
        return list(dict.fromkeys(["identity", "is_authenticated", "display_name", *own]))

    def _asdict(self) -> dict[str, Any]:
        """Returns the part of a user that is serialized (the server's JSON and LangGraph's serializer call this)."""
        return kept(self)


class _Studio(Auth.types.StudioUser):
    """The user of Studio, with the interface that graphs expect of users."""

    __getitem__ = User.__getitem__
    __contains__ = User.__contains__
    __iter__ = User.__iter__
    get = User.get
    _source = None

    def keys(self) -> list[str]:
        return ["identity", "is_authenticated", "display_name", "permissions"]


def studio_user() -> Any:
    """Returns the user of Studio. Handlers recognize it by `isinstance(user, Auth.types.StudioUser)`."""
    return _Studio(NAME)


def user_of(returned: Any) -> Any:
    """Returns the user for the result of an authenticate handler.

    Raises:
        NoUserError: the result is no valid user.
    """
    if isinstance(returned, User | Auth.types.StudioUser):
        return returned
    if isinstance(returned, str):
        return User(returned)
    if isinstance(returned, Mapping):
        if returned.get("identity") is None:
            raise NoUserError(EXPECTED)
        return User(
            returned["identity"],
            returned.get("display_name"),
            _permissions(returned.get("permissions")),
            is_authenticated=bool(returned.get("is_authenticated", True)),
            source=returned,
        )
    if getattr(returned, "identity", None) is not None:
        return User(
            returned.identity,
            getattr(returned, "display_name", None),
            _permissions(getattr(returned, "permissions", None)),
            is_authenticated=bool(getattr(returned, "is_authenticated", True)),
            source=returned,
        )
    if isinstance(returned, tuple) and len(returned) == 2 and not isinstance(returned[1], tuple):
        user = user_of(returned[1])
        if isinstance(user, User):
            user.permissions = _permissions(returned[0])
        return user
    raise NoUserError(EXPECTED)


def kept(user: Any) -> dict[str, Any]:
    """Returns the part of a user that may be stored or sent: identity, display name, permissions."""
    shown = {"identity": user.identity, "display_name": user.display_name, "permissions": list(user.permissions)}
    whole: dict[str, Any] = from_json(to_json(shown))
    return whole


def user_id(user: Any) -> str:
    """Returns the identity as text."""
    return str(user.identity)


def _permissions(given: Any) -> list[Any]:
    if given is None:
        return []
    if isinstance(given, str | bytes | Mapping) or not isinstance(given, Sequence | set | frozenset):
        raise NoUserError(f"Expected the user's permissions as a list, got {type(given).__name__}")
    return list(given)
