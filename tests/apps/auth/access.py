"""Auth that a test tells what to do: a token is JSON in base64, see `tests/users.py`.

`identity`, `permissions` and `fields` make the user. `rules` say what handlers do, by `resource.action`, `resource` or
`*`; without one they stamp `owner` on what is made, and ask it of what is read.
"""

import base64
import json
import uuid
from collections import defaultdict
from typing import Annotated, Any, TypedDict

from langchain_core.runnables import RunnableConfig
from langgraph.config import get_stream_writer
from langgraph.graph import END, START, StateGraph
from langgraph.runtime import Runtime
from langgraph.types import interrupt
from langgraph_sdk import Auth
from langgraph_sdk.runtime import ServerRuntime
from starlette.applications import Starlette
from starlette.requests import Request
from starlette.responses import JSONResponse
from starlette.routing import Route

auth = Auth()
asked: dict[str, list[dict[str, Any]]] = defaultdict(list)
"""What handlers were asked, by the user's field `label`."""


@auth.authenticate
async def who(authorization: str | None, path: str):
    if authorization is None:
        raise Auth.exceptions.HTTPException(401, "credentials required", {"WWW-Authenticate": "Bearer"})
    token = json.loads(base64.b64decode(authorization.removeprefix("Bearer ")))
    if "crash" in token:
        raise RuntimeError(f"{token['crash']} {authorization}")
    if "refuse" in token:
        raise Auth.exceptions.HTTPException(*token["refuse"])
    if "user" in token:
        return token["user"]
    fields = {"authorization": authorization, "rules": token.get("rules", {}), **token.get("fields", {})}
    return {"identity": token["identity"], "permissions": token.get("permissions", []), **fields}


@auth.on
async def decide(ctx: Auth.types.AuthContext, value: dict[str, Any]) -> Any:
    rules = ctx.user.get("rules", {})
    name = f"{ctx.resource}.{ctx.action}"
    label = ctx.user.get("label")
    if label:
        asked[label].append({"of": name, "value": _told(value)})
    if f"no {name}" in ctx.permissions:  # what is known of a user when a cron of his fires
        raise Auth.exceptions.HTTPException(403, f"no {name} for you")
    rule = next((rules[key] for key in (name, ctx.resource, "*") if key in rules), None)
    if rule is None:
        if ctx.resource == "store":
            value["namespace"] = (ctx.user.identity, *(value.get("namespace") or ()))
            return None
        if ctx.action in ("create", "update", "create_run"):
            value.setdefault("metadata", {})["owner"] = ctx.user.identity
        return {"owner": ctx.user.identity}
    if "set" in rule:
        value.update(rule["set"])
    if "raise" in rule:
        raise Auth.exceptions.HTTPException(*rule["raise"])
    if "crash" in rule:
        raise RuntimeError(f"{rule['crash']} {dict(ctx.user)}")
    if "assert" in rule:
        raise AssertionError(rule["assert"])
    return rule.get("give")


def _told(value: Any) -> Any:
    """A value as JSON; ids tell what they are."""
    if isinstance(value, uuid.UUID):
        return {"UUID": str(value)}
    if isinstance(value, dict):
        return {key: _told(one) for key, one in value.items()}
    if isinstance(value, list | tuple):
        return [_told(one) for one in value]
    return value


class State(TypedDict, total=False):
    texts: Annotated[list[str], lambda old, new: [*(old or []), *new]]
    who: dict[str, Any]


async def note(state: State, config: RunnableConfig, runtime: Runtime) -> State:
    """Tells who asks, and nothing else of what it was given."""
    given = config["configurable"]
    user = given.get("langgraph_auth_user")
    get_stream_writer()({"at": "note"})
    server = runtime.server_info
    told = {
        "user_id": given.get("user_id"),
        "id": given.get("langgraph_auth_user_id"),
        "permissions": given.get("langgraph_auth_permissions"),
        "identity": None if user is None else user.identity,
        "team": None if user is None else user.get("team"),
        "knows": [] if user is None else sorted(user),
        "server": None if server is None or server.user is None else server.user.identity,
        "context": sorted(runtime.context or {}),
    }
    return {"texts": ["noted"], "who": told}


def build(*, ask: bool) -> StateGraph:
    inner = StateGraph(State)
    inner.add_node("inner_note", note)
    inner.add_edge(START, "inner_note")
    builder = StateGraph(State)
    builder.add_node("note", note)
    builder.add_node("inner", inner.compile())
    builder.add_edge(START, "note")
    builder.add_edge("note", "inner")
    if ask:
        builder.add_node("ask", lambda state: {"texts": [interrupt("and?")]})
        builder.add_edge("inner", "ask")
        builder.add_edge("ask", END)
    else:
        builder.add_edge("inner", END)
    return builder


plain = build(ask=False).compile()
asking = build(ask=True).compile()


def made(runtime: ServerRuntime):
    """A graph whose node is named after its user, so that reads show for whom it was made."""
    builder = StateGraph(State)
    name = f"{runtime.access_context}:{runtime.ensure_user().identity}"

    async def tell(state: State) -> State:
        return {"texts": [name]}

    builder.add_node("tell", tell, metadata={"for": name})
    builder.add_edge(START, "tell")
    return builder.compile(name=name)


async def what_was_asked(request: Request) -> JSONResponse:
    return JSONResponse(asked.pop(request.path_params["label"], []))


async def me(request: Request) -> JSONResponse:
    return JSONResponse({"known": "user" in request.scope})


app = Starlette(routes=[Route("/asked/{label}", what_was_asked), Route("/me", me)])
