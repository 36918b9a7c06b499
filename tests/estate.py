"""What a user of `tests/apps/auth` can have, and everything that can be asked for or done about it."""

import uuid

MARK = "m4rk"
"""Stands in all that is Ann's, and nowhere else."""


class Estate:
    """What Ann has, of every kind."""

    def __init__(self, ann):
        self.ann = ann

    async def fill(self):
        ann = self.ann
        self.thread = await ann.thread(note=MARK)
        await ann.run(self.thread, graph="asking", input={"texts": [MARK]})
        runs = (await ann.http.get(f"/threads/{self.thread}/runs")).json()
        self.run = runs[0]["run_id"]
        late = {"assistant_id": "plain", "input": {"texts": [MARK]}, "after_seconds": 3600}
        self.pending_thread = await ann.thread(note=MARK)
        made = await ann.http.post(f"/threads/{self.pending_thread}/runs", json=late)
        self.pending = made.json()["run_id"]
        made = await ann.http.post("/assistants", json={"graph_id": "plain", "name": MARK})
        self.assistant = made.json()["assistant_id"]
        cron = {
            "assistant_id": "plain",
            "schedule": "0 0 1 1 *",
            "input": {"texts": [MARK]},
            "metadata": {"note": MARK},
        }
        self.cron = (await ann.http.post("/runs/crons", json=cron)).json()["cron_id"]
        made = await ann.http.post(f"/threads/{self.thread}/runs/crons", json=cron)
        self.thread_cron = made.json()["cron_id"]
        item = {"namespace": ["notes"], "key": "k", "value": {"note": MARK}}
        assert (await ann.http.put("/store/items", json=item)).status_code == 204
        made = await ann.http.post("/runs", json={"assistant_id": "plain", "input": {"texts": [MARK]}})
        self.stateless = made.json()["run_id"]
        await ann.http.get(f"/threads/{made.json()['thread_id']}/runs/{self.stateless}/join")
        told = {"assistant_id": "plain", "input": {}, "webhook": f"http://127.0.0.1:9/{MARK}"}
        await ann.http.post(f"/threads/{self.thread}/runs/wait", json=told)
        self.delivery = (await ann.http.get("/webhooks/deliveries")).json()[0]["delivery_id"]
        state = (await ann.http.get(f"/threads/{self.thread}/state")).json()
        self.checkpoint = state["checkpoint"]["checkpoint_id"]
        assert (await ann.http.put(f"/threads/{self.thread}/tags/{MARK}")).status_code == 200
        return self

    def requests(self):
        """Everything that can be asked for or done, told by what it needs to be allowed."""
        thread, at = self.thread, f"/threads/{self.thread}"
        run, assistant = {"assistant_id": "plain", "input": {}}, f"/assistants/{self.assistant}"
        state = {"values": {"texts": ["x"]}}
        copy, rpc = {"if_exists": "do_nothing"}, {"jsonrpc": "2.0", "id": 1}
        message = {"messageId": "m", "role": "user", "contextId": thread, "parts": [{"kind": "data", "data": {}}]}
        return [
            ("threads.create", "POST", "/threads", {"thread_id": thread, "if_exists": "do_nothing"}),
            ("threads.create", "POST", "/threads", {"thread_id": thread, "supersteps": [], "if_exists": "do_nothing"}),
            ("threads.search", "POST", "/threads/search", {"limit": 100}),
            ("threads.search", "POST", "/threads/search", {"ids": [thread]}),
            ("threads.search", "POST", "/threads/count", {"metadata": {"note": MARK}}),
            ("threads.delete", "POST", "/threads/prune", {"thread_ids": [thread]}),
            ("threads.read", "GET", at, None),
            ("threads.update", "PATCH", at, {"metadata": {"stolen": True}}),
            ("threads.delete", "DELETE", at, None),
            ("threads.delete", "DELETE", f"{at}?cascade=copies", None),
            ("threads.read", "GET", f"{at}/state", None),
            ("threads.read", "GET", f"{at}/state/{self.checkpoint}", None),
            ("threads.update", "POST", f"{at}/state", state),
            ("threads.read", "POST", f"{at}/state", state),
            ("threads.read", "POST", f"{at}/state/checkpoint", {"checkpoint": {}}),
            ("threads.read", "GET", f"{at}/history", None),
            ("threads.read", "POST", f"{at}/history", {}),
            ("threads.read", "GET", f"{at}/storage", None),
            ("threads.read", "GET", f"{at}/branches", None),
            ("threads.read", "GET", f"{at}/lineage", None),
            ("threads.read", "GET", f"{at}/compare/{self.pending_thread}", None),
            ("threads.read", "GET", f"{at}/digests", None),
            ("threads.read", "GET", f"/queue?thread_id={thread}", None),
            ("threads.read", "POST", f"{at}/copy", {"thread_id": str(uuid.uuid4()), **copy}),
            ("threads.create", "POST", f"{at}/copy", {"thread_id": str(uuid.uuid4())}),
            ("threads.update", "POST", f"{at}/reset", {"checkpoint_id": self.checkpoint}),
            ("threads.update", "POST", f"{at}/reset", {"undo": True}),
            ("threads.update", "POST", f"{at}/promote", {"thread_id": self.pending_thread}),
            ("threads.read", "POST", f"{at}/promote", {"thread_id": self.pending_thread}),
            ("threads.update", "POST", f"{at}/append", {"thread_id": thread, **state}),
            ("threads.read", "POST", f"{at}/append", {"thread_id": thread, **state}),
            ("threads.read", "GET", f"{at}/tags", None),
            ("threads.read", "GET", f"{at}/state/{MARK}", None),
            ("threads.update", "PUT", f"{at}/tags/other", {}),
            ("threads.update", "DELETE", f"{at}/tags/{MARK}", None),
            ("threads.read", "GET", f"{at}/stream", None),
            ("threads.read", "GET", f"{at}/runs", None),
            ("threads.search", "GET", f"{at}/runs", None),
            ("threads.create_run", "POST", f"{at}/runs", run),
            ("threads.create_run", "POST", f"{at}/runs/wait", {**run, "if_not_exists": "create"}),
            ("threads.create_run", "POST", f"{at}/runs/stream", run),
            ("threads.create_run", "POST", "/runs", run),
            ("threads.create_run", "POST", "/runs/wait", run),
            ("threads.create_run", "POST", "/runs/stream", run),
            ("threads.create_run", "POST", "/runs/batch", [run]),
            ("threads.read", "POST", "/runs/wait", run),
            ("assistants.read", "POST", "/runs/wait", {**run, "assistant_id": self.assistant}),
            ("threads.read", "GET", f"{at}/runs/{self.run}", None),
            ("threads.read", "GET", f"{at}/runs/{self.run}/join", None),
            ("threads.read", "GET", f"{at}/runs/{self.run}/stream", None),
            ("threads.delete", "DELETE", f"{at}/runs/{self.run}", None),
            ("threads.update", "POST", f"/threads/{self.pending_thread}/runs/{self.pending}/cancel", {}),
            ("threads.update", "POST", "/runs/cancel", {"thread_id": self.pending_thread, "run_ids": [self.pending]}),
            ("threads.update", "POST", "/runs/cancel", {"status": "all"}),
            ("threads.read", "GET", f"/runs/{self.stateless}/stream", None),
            ("assistants.create", "POST", "/assistants", {"graph_id": "plain", "assistant_id": self.assistant}),
            ("assistants.search", "POST", "/assistants/search", {}),
            ("assistants.search", "POST", "/assistants/count", {"metadata": {"owner": self.ann.identity}}),
            ("assistants.read", "GET", assistant, None),
            ("assistants.read", "GET", f"{assistant}/graph", None),
            ("assistants.read", "GET", f"{assistant}/subgraphs", None),
            ("assistants.read", "GET", f"{assistant}/subgraphs/inner", None),
            ("assistants.read", "GET", f"{assistant}/schemas", None),
            ("assistants.read", "POST", f"{assistant}/versions", {}),
            ("assistants.update", "POST", f"{assistant}/latest", {"version": 1}),
            ("assistants.update", "PATCH", assistant, {"name": "stolen"}),
            ("assistants.delete", "DELETE", assistant, None),
            ("crons.create", "POST", "/runs/crons", {**run, "schedule": "* * * * *"}),
            ("threads.read", "POST", f"{at}/runs/crons", {**run, "schedule": "* * * * *"}),
            ("crons.search", "POST", "/runs/crons/search", {}),
            ("threads.search", "POST", "/runs/crons/search", {}),
            ("crons.search", "POST", "/runs/crons/count", {}),
            ("crons.read", "GET", f"/runs/crons/{self.cron}", None),
            ("crons.update", "PATCH", f"/runs/crons/{self.cron}", {"enabled": False}),
            ("crons.delete", "DELETE", f"/runs/crons/{self.cron}", None),
            ("store.put", "PUT", "/store/items", {"namespace": [self.ann.identity, "notes"], "key": "k", "value": {}}),
            ("store.get", "GET", f"/store/items?namespace={self.ann.identity}.notes&key=k", None),
            ("store.delete", "DELETE", "/store/items", {"namespace": [self.ann.identity, "notes"], "key": "k"}),
            ("store.search", "POST", "/store/items/search", {"namespace_prefix": [self.ann.identity]}),
            ("store.list_namespaces", "POST", "/store/namespaces", {"prefix": [self.ann.identity]}),
            ("threads.read", "POST", f"{at}/stream/events", {"channels": ["values", "messages"]}),
            ("assistants.search", "POST", "/mcp", {**rpc, "method": "tools/list"}),
            ("assistants.read", "GET", f"/.well-known/agent-card.json?assistant_id={self.assistant}", None),
            ("assistants.read", "POST", f"/a2a/{self.assistant}", {**rpc, "method": "tasks/get", "params": {}}),
            ("assistants.read", "GET", f"/a2a/{self.assistant}", None),
            ("assistants.read", "GET", f"/a2a/{self.assistant}/.well-known/agent-card.json", None),
            ("threads.search", "GET", "/webhooks/deliveries", None),
            ("threads.read", "GET", f"/webhooks/deliveries/{self.delivery}", None),
            ("threads.read", "POST", f"/webhooks/deliveries/{self.delivery}/redeliver", None),
            ("threads.update", "POST", f"/webhooks/deliveries/{self.delivery}/redeliver", None),
            (
                "a2a",
                "POST",
                f"/a2a/{self.assistant}",
                {**rpc, "method": "message/send", "params": {"message": message}},
            ),
            ("v2", "POST", f"{at}/commands", {"id": 1, "method": "run.start", "params": run}),
            ("v2", "POST", f"{at}/commands", {"id": 1, "method": "state.get"}),
            ("v2", "POST", f"{at}/commands", {"id": 1, "method": "agent.getTree"}),
        ]

    async def all(self):
        """All there is, as Ann sees it."""
        http, at = self.ann.http, f"/threads/{self.thread}"
        seen = [
            await http.get(at),
            await http.get(f"{at}/history"),
            await http.get(f"{at}/branches"),
            await http.get(f"{at}/runs"),
            await http.get(f"/threads/{self.pending_thread}/runs/{self.pending}"),
            await http.get(f"/assistants/{self.assistant}"),
            await http.post("/runs/crons/search", json={}),
            await http.post("/store/items/search", json={"namespace_prefix": []}),
            await http.post("/threads/count", json={}),
        ]
        assert all(response.status_code == 200 for response in seen), [response.text for response in seen]
        return [response.json() for response in seen]
