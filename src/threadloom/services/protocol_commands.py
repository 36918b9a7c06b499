"""Executes the commands of the v2 protocol (docs/contract/protocols.md#commands)."""

from collections.abc import Awaitable, Callable
from typing import Any

import msgspec

from threadloom.auth.authorize import Guard
from threadloom.codec import from_json
from threadloom.engine.admission import Admitted
from threadloom.errors import ApiError, Invalid, NotFound
from threadloom.ids import new_id
from threadloom.services.event_filter import read_filter
from threadloom.services.event_stream import readable
from threadloom.services.open_questions import questions_of
from threadloom.services.protocol_params import (
    Command,
    Params,
    Refused,
    answers_of,
    command_of,
    config_of,
    flag,
    invalid,
    metadata_of,
    namespace_of,
    refusal,
    strategy_of,
    text,
)
from threadloom.services.protocol_tree import tree
from threadloom.services.requests import RunCreate, bounds
from threadloom.services.requests.bounds import check_count
from threadloom.services.requests.common import StreamMode
from threadloom.services.run_grant import AssistantResolver
from threadloom.services.run_start import Prepared, RunStartService
from threadloom.services.state import StateService
from threadloom.services.tags import checkpoint_named
from threadloom.storage.base import Storage, Tx
from threadloom.storage.filters import Filter
from threadloom.types import Caller, Thread, names_questions

NO_THREAD = "There is no thread with this id that can be read"
MODES: list[StreamMode] = ["values", "updates", "messages", "custom", "tasks", "checkpoints"]


ATTEMPTS = 10
"""How often handlers are called again because the thread changed meanwhile and with it the run, before the command fails."""

Prepare = Callable[[Tx], Awaitable[None]]
"""Sets the fields of a run's request that depend on its thread. Raises `Refused` if the run cannot be created."""


class CommandResult(msgspec.Struct):
    """The result of a command, and the number of the last event before the command took effect."""

    result: dict[str, Any]
    seq: int


class CommandService:
    """The operations of the v2 protocol, except event streams."""

    def __init__(
        self,
        *,
        storage: Storage,
        guard: Guard,
        starts: RunStartService,
        assistants: AssistantResolver,
        state: StateService,
    ) -> None:
        self._storage = storage
        self._guard = guard
        self._starts = starts
        self._assistants = assistants
        self._state = state
        self._methods: dict[str, Callable[[Caller, str, Params], Awaitable[CommandResult]]] = {
            "run.start": self._start,
            "input.respond": self._respond,
            "agent.getTree": self._tree,
            "state.get": self._get_state,
            "subscription.subscribe": self._subscribe,
            "subscription.unsubscribe": self._unsubscribe,
            "subscription.reconnect": self._reconnect,
        }

    async def execute(self, caller: Caller, thread_id: str, command: Command) -> CommandResult:
        """Executes one command.

        Raises:
            Refused: the command was not executed, and nothing was changed.
        """
        method = self._methods.get(command.method)
        if method is None:
            raise Refused("unknown_command", f"Unknown command: {command.method:.100}")
        if not isinstance(command.params, dict):
            raise invalid("params must be an object")
        try:
            return await method(caller, thread_id, command.params)
        except ApiError as error:
            raise refusal(error) from error

    # --- runs ---

    async def _start(self, caller: Caller, thread_id: str, params: Params) -> CommandResult:
        request = _request(params, text(params, "assistant_id"))
        given = params.get("input")
        forks = bool((request.config.get("configurable") or {}).get("checkpoint_id"))

        async def prepare(tx: Tx) -> None:
            waits = given is not None and not forks and await _waits(tx, thread_id)
            if waits:
                request.command, request.input = {"resume": given}, None
            else:
                request.command, request.input = None, given

        return await self._run(caller, thread_id, request, prepare, told=True)

    async def _respond(self, caller: Caller, thread_id: str, params: Params) -> CommandResult:
        answers = answers_of(params)
        request = _request(params, "")
        request.command = {**command_of(params), "resume": answers}
        request.strict_resume = flag(params, "strict_resume")

        await self._known(caller, thread_id)

        async def prepare(tx: Tx) -> None:
            thread = await tx.threads.get(thread_id)
            if thread is None:
                raise Refused("no_such_run", NO_THREAD)
            waiting = await _waiting(tx, thread)
            if unknown := [interrupt_id for interrupt_id in answers if interrupt_id not in waiting]:
                raise Refused("no_such_interrupt", f"Not waiting for an answer: {', '.join(unknown)[:500]}")
            request.assistant_id = await self._assistant_of(tx, thread)

        return await self._run(caller, thread_id, request, prepare, told=False)

    async def _run(
        self, caller: Caller, thread_id: str, request: RunCreate, prepare: Prepare, *, told: bool
    ) -> CommandResult:
        rule = await self._reading(caller, thread_id)
        await self._starts.check(thread_id, request)
        for _ in range(ATTEMPTS):
            asked_about = None
            if self._starts.asks(caller):
                await self._seen(thread_id, rule, prepare)
                asked_about = _gist(request)
            prepared = await self._starts.ask(caller, thread_id, request, channels=True)

            async def work(
                tx: Tx, prepared: Prepared = prepared, asked_about: object = asked_about
            ) -> tuple[Admitted, int] | None:
                await readable(tx, thread_id, rule)
                await prepare(tx)
                if asked_about is not None and asked_about != _gist(request):
                    return None
                return await self._admit(tx, thread_id, prepared)

            done = await self._storage.write(work)
            if done is not None:
                admitted, seq = done
                self._starts.admitted(admitted)
                return CommandResult({"run_id": admitted.run.run_id} if told else {}, seq)
        raise Refused("unknown_error", "The thread changes too fast")

    async def _admit(self, tx: Tx, thread_id: str, prepared: Prepared) -> tuple[Admitted, int]:
        """Admits the run to the queue. Returns also the number of the thread's newest event at that moment."""
        request = prepared.request
        try:
            await self._assistants.resolve(tx, request.assistant_id)
        except (NotFound, Invalid) as error:
            raise invalid(f"assistant_id: {error.detail}") from error
        configurable = request.config.get("configurable") or {}
        checkpoint_id, namespace = configurable.get("checkpoint_id"), configurable.get("checkpoint_ns") or ""
        if checkpoint_id:
            try:
                checkpoint_id = await checkpoint_named(tx, thread_id, checkpoint_id)
            except NotFound as error:
                raise invalid(f"config.configurable.checkpoint_id: {error.detail}") from error
        if checkpoint_id and await tx.lineage.get(thread_id, namespace, checkpoint_id) is None:
            raise invalid(f"config.configurable.checkpoint_id: there is no checkpoint {checkpoint_id}")
        seq = await tx.events.last_channel_seq(thread_id)
        return await self._starts.admit(tx, prepared), seq

    async def _assistant_of(self, tx: Tx, thread: Thread) -> str:
        """Returns the assistant of the thread's newest run, or the default assistant of its graph if that was deleted."""
        for key in ("assistant_id", "graph_id"):
            named = thread.metadata.get(key)
            if not isinstance(named, str):
                continue
            try:
                return (await self._assistants.resolve(tx, named)).assistant_id
            except (NotFound, Invalid):
                continue
        raise Refused("no_such_run", "No assistant has run on this thread")

    # --- reads ---

    async def _tree(self, caller: Caller, thread_id: str, params: Params) -> CommandResult:
        run_id = params.get("run_id")
        if run_id is not None and not isinstance(run_id, str):
            raise invalid("run_id must be a string")
        await self._known(caller, thread_id)

        async def work(tx: Tx) -> tuple[dict[str, Any] | None, int]:
            told = await tx.events.of_channels(
                thread_id, after=0, methods=("lifecycle",), run_id=run_id, limit=1_000_000, size=None
            )
            return tree(told), await tx.events.last_channel_seq(thread_id)

        found, seq = await self._storage.read(work, heavy=True)
        if found is None:
            raise Refused("no_such_run", "No run of this thread has told of its agents")
        return CommandResult({"tree": found}, seq)

    async def _get_state(self, caller: Caller, thread_id: str, params: Params) -> CommandResult:
        keys = params.get("keys")
        if keys is not None and (not isinstance(keys, list) or not all(isinstance(key, str) for key in keys)):
            raise invalid("keys must be an array of strings")
        check_count(len(keys or ()), bounds.SELECT, "keys")
        namespace = namespace_of(params)
        await self._known(caller, thread_id)
        seq = await self._storage.read(lambda tx: tx.events.last_channel_seq(thread_id))
        try:
            state = await self._state.get(caller, thread_id, checkpoint={"checkpoint_ns": "|".join(namespace)})
        except NotFound as error:
            raise Refused("no_such_run", error.detail) from error
        except ValueError:
            state = {"values": {}}
        place = state.get("checkpoint") or {}
        if namespace and not place.get("checkpoint_id"):
            raise Refused("no_such_namespace", f"There is no state of a subgraph {namespace!r:.200}")
        values = state["values"]
        if keys is not None and isinstance(values, dict):
            values = {key: values[key] for key in keys if key in values}
        result: dict[str, Any] = {"values": values}
        if place.get("checkpoint_id"):
            result["checkpoint"] = {"id": place["checkpoint_id"], "ns": place.get("checkpoint_ns", "")}
        return CommandResult(result, seq)

    # --- subscriptions: they need a web socket; over HTTP there is nothing to do ---

    async def _subscribe(self, caller: Caller, thread_id: str, params: Params) -> CommandResult:
        read_filter(params)
        await self._seen(thread_id, await self._reading(caller, thread_id))
        return await self._noted(thread_id, {"subscription_id": new_id(), "replayed_events": 0})

    async def _unsubscribe(self, caller: Caller, thread_id: str, params: Params) -> CommandResult:
        subscription_id = text(params, "subscription_id")
        raise Refused("no_such_subscription", f"There is no subscription {subscription_id:.100}")

    async def _reconnect(self, caller: Caller, thread_id: str, params: Params) -> CommandResult:
        raise Refused("no_such_run", "Only a web socket can be reconnected")

    async def _reading(self, caller: Caller, thread_id: str) -> Filter | None:
        return await self._guard.ask(caller, "threads", "read", {"thread_id": thread_id})

    async def _known(self, caller: Caller, thread_id: str) -> None:
        """Raises `Refused` for a thread that the caller may not read, as for one that does not exist."""
        try:
            await self._seen(thread_id, await self._reading(caller, thread_id))
        except NotFound as unreadable:
            raise Refused("no_such_run", NO_THREAD) from unreadable

    async def _seen(self, thread_id: str, rule: Filter | None, also: Prepare | None = None) -> None:
        """Checks that the thread is visible to the caller or does not exist. Then calls `also` in the same transaction.

        Raises:
            NotFound: the thread exists, and the caller may not read it.
        """

        async def work(tx: Tx) -> None:
            await readable(tx, thread_id, rule)
            if also is not None:
                await also(tx)

        if rule is not None or also is not None:
            await self._storage.read(work)

    async def _noted(self, thread_id: str, result: dict[str, Any]) -> CommandResult:
        return CommandResult(result, await self._storage.read(lambda tx: tx.events.last_channel_seq(thread_id)))


def _request(params: Params, assistant_id: str) -> RunCreate:
    request = RunCreate(
        assistant_id=assistant_id,
        config=config_of(params),
        metadata=metadata_of(params),
        stream_mode=list(MODES),
        stream_subgraphs=True,
        stream_resumable=True,
        if_not_exists="create",
        multitask_strategy=strategy_of(params),
    )
    tracer = params.get("langsmith_tracer")
    if isinstance(tracer, dict):
        request.langsmith_tracer = tracer
    return request


def _gist(request: RunCreate) -> tuple[Any, ...]:
    """Returns the fields of a run's request that depend on its thread."""
    return request.assistant_id, request.command, request.input


async def _waits(tx: Tx, thread_id: str) -> bool:
    """Returns whether the thread waits for an answer to a question."""
    thread = await tx.threads.get(thread_id, with_state=False)
    if thread is None or thread.status != "interrupted":
        return False
    shown = await tx.threads.get(thread_id)
    return shown is not None and bool(questions_of(shown))


async def _waiting(tx: Tx, thread: Thread) -> set[str]:
    """Returns the ids of the interrupts that can still be answered: no active run answers them.

    Interrupts of a run that is not finalized yet are included: clients answer as soon as they get the question.
    """
    waiting = set(questions_of(thread))
    for run in await tx.runs.active(thread.thread_id):
        command = run.kwargs.get("command") or {}
        if "resume" in command:
            answers = command["resume"]
            waiting = waiting - answers.keys() if answers and names_questions(answers) else set()
        for event in await tx.events.of_channels(
            thread.thread_id, after=0, methods=("input.requested",), run_id=run.run_id, size=None
        ):
            waiting.add(from_json(event.data)["data"]["interrupt_id"])
    return waiting
