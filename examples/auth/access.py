"""Who may do what: everybody has threads and notes of his own, and editors may read everybody's.

curl -s -X POST http://127.0.0.1:2024/threads -d '{}'                                     # 401: who are you?
curl -s -X POST http://127.0.0.1:2024/threads -d '{}' -H 'Authorization: Bearer ann'      # Ann's

A real app looks a token up in its sessions, or checks its signature.
"""

from typing import Any

from langgraph_sdk import Auth

PEOPLE: dict[str, list[str]] = {"ann": [], "bob": [], "eve": ["editor"]}
"""Each token with its permissions. Here, a token is a name."""

auth = Auth()


@auth.authenticate
async def who(authorization: str | None) -> Auth.types.MinimalUserDict:
    name = (authorization or "").removeprefix("Bearer ")
    if name not in PEOPLE:
        raise Auth.exceptions.HTTPException(401, "unknown token", {"WWW-Authenticate": "Bearer"})
    return {"identity": name, "permissions": PEOPLE[name]}


@auth.on.threads
async def own_threads(ctx: Auth.types.AuthContext, value: dict[str, Any]) -> Auth.types.HandlerResult:
    """What is made belongs to its maker. A copy too, so whoever copies a thread that he may read owns the copy."""
    if ctx.action in ("create", "update", "create_run"):
        value.setdefault("metadata", {})["owner"] = ctx.user.identity
    if ctx.action in ("read", "search") and "editor" in ctx.permissions:
        return None
    return {"owner": ctx.user.identity}


@auth.on.assistants(actions=["read", "search"])
async def look_at_assistants(ctx: Auth.types.AuthContext, value: dict[str, Any]) -> Auth.types.HandlerResult:
    """Everybody may use what there is. Nobody may make or change assistants: no handler says so, and the default is deny."""
    return None


@auth.on.store
async def own_notes(ctx: Auth.types.AuthContext, value: dict[str, Any]) -> None:
    """Items have no owner: they are put where nobody else comes."""
    value["namespace"] = (ctx.user.identity, *(value.get("namespace") or ()))
