"""The name of a user is his token; who is called premium pays."""

from langgraph_sdk import Auth

auth = Auth()


@auth.authenticate
async def known(headers):
    name = headers.get(b"authorization", b"nobody").decode()
    return {"identity": name, "permissions": ["premium"] if name.startswith("premium") else [], "org_id": "o1"}
