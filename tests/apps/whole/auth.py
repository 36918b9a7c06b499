"""Everybody with a token comes in."""

from langgraph_sdk import Auth

auth = Auth()


@auth.authenticate
async def who(authorization: str | None) -> str:
    if authorization is None:
        raise Auth.exceptions.HTTPException(401, "credentials required")
    return authorization.removeprefix("Bearer ")


@auth.on.assistants
@auth.on.store
@auth.on.crons
async def shared(ctx, value):
    return None


@auth.on.threads
async def own(ctx, value):
    if ctx.action in ("create", "update", "create_run"):
        value.setdefault("metadata", {})["owner"] = ctx.user.identity
    return {"owner": ctx.user.identity}
