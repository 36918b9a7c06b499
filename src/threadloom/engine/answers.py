"""Resolves which question an answer is for.

LangGraph keeps an answer that names no question as a pending write, and passes it to the next question that is asked: in the same
node, another node, a subgraph, or a later run. It also confuses the id of a task's first question with that of its next. This
module resolves every answer, before the graph is called, to the id of an open question. An answer without an open question is not
passed on.
"""

from collections.abc import Mapping, Sequence
from typing import Any, Literal

import msgspec
from langgraph.errors import EmptyInputError, UnknownInterruptError

from threadloom.checkpointer import question_id
from threadloom.engine.snapshot import shown
from threadloom.types import OPEN_QUESTIONS, Run, names_questions

Graph = Any
"""A compiled graph. LangGraph's own generic types require state types that a server does not know."""

_MANY = 100
"""Up to this many questions of one node are searched before the inner graphs are."""

_INTERRUPT, _RESUME = "__interrupt__", "__resume__"

_NEVER_RAN = "There is nothing to resume: the thread has not run yet"
_NOTHING_ASKED = (
    "No question is open: there is nothing to answer. A run without input goes on from where the thread stopped."
)
_SEVERAL_ASKED = (
    "When there are multiple pending interrupts, you must specify the interrupt id when resuming. "
    "Docs: https://docs.langchain.com/oss/python/langgraph/interrupts#handling-multiple-interrupts."
)
_OUT_OF_REACH = (
    "The question cannot be answered: it was asked within a graph that keeps no checkpoints (checkpointer=False), after or beside"
    " others. Such a graph begins anew when it is resumed."
)


class OpenQuestions(msgspec.Struct, frozen=True, omit_defaults=True):
    """What was known when the answer was sent.

    Attributes:
        questions: the ids of the questions that were open; None when an active run had yet to ask.
        newest: whether the checkpoint that the answer names was the thread's newest.
    """

    questions: Sequence[str] | None = None
    newest: bool = False


class ResolvedAnswer(msgspec.Struct, frozen=True):
    """An answer in the form that LangGraph takes.

    Attributes:
        found: whether its question is open; `resume` is then the value to resume with.
        asks: whether any question is open.
        questions: the ids of the questions that are answered.
    """

    found: bool
    asks: bool
    resume: Any = None
    questions: Sequence[str] = ()


class _EarlierAnswer(msgspec.Struct, frozen=True):
    """An answer to a question that a task of an older checkpoint asked.

    Attributes:
        before: the answers to the task's earlier questions.
        inner: the question's id, when a graph within the task asked it.
    """

    answer: Any
    before: Sequence[Any] = ()
    inner: Any = None


class Answers:
    """Resolves the answer of a run.

    Args:
        run: its `kwargs[OPEN_QUESTIONS]` is an `OpenQuestions`.
        graph: the thread's graph, with the server's checkpointer.
        config: the run's config. `resolve` removes the checkpoint id: the run continues at the newest checkpoint.
        call: further arguments of the graph call.
    """

    def __init__(self, run: Run, graph: Graph, config: dict[str, Any], call: Mapping[str, Any]) -> None:
        self._given = msgspec.convert(run.kwargs.get(OPEN_QUESTIONS) or {}, OpenQuestions)
        self._run = run
        self._strict = bool(run.kwargs.get("strict_resume"))
        self._again = run.was_begun_before
        self._goes = bool((run.kwargs.get("command") or {}).get("goto"))
        self._graph = graph
        self._config = config
        self._call = call

    async def resolve(self, answer: Any) -> ResolvedAnswer:
        """Returns the answer, keyed by the id of its question.

        Raises:
            EmptyInputError: the thread has never run.
            RuntimeError: the answer names no question, and several or none are open.
            UnknownInterruptError: as RuntimeError, and for unknown ids, when the run is strict.
        """
        by_id = names_questions(answer) and bool(answer or self._strict)
        questions = self._given.questions
        if self._config["configurable"].get("checkpoint_id"):
            saved = await self._graph.checkpointer.aget_tuple(self._config)
            at = {**self._config, "configurable": dict(self._config["configurable"])}
            for key in ("checkpoint_id", "checkpoint_map"):
                self._config["configurable"].pop(key, None)
            newest = await self._graph.checkpointer.aget_tuple(self._config)
            if saved is None:
                raise EmptyInputError(_NEVER_RAN)
            if _id_of(newest) != _id_of(saved):
                if self._given.newest:  # another answer came first, and the thread has advanced
                    return ResolvedAnswer(found=False, asks=bool((await self._state()).interrupts))
                answer = await self._ask_anew(at, saved, answer, by_id)
                by_id, self._strict = True, False  # the checkpoint's questions have been matched by id
        state = await self._state()
        if state.metadata is None:
            raise EmptyInputError(_NEVER_RAN)
        waiting = list(dict.fromkeys(question.id for question in state.interrupts))
        chosen = (
            self._by_id(answer, waiting)
            if by_id
            else self._single(answer, questions, waiting, stopped=bool(state.next))
        )
        if not chosen:
            return ResolvedAnswer(found=False, asks=bool(waiting))
        return await self._addressable(chosen, state)

    def _by_id(self, answers: Mapping[str, Any], waiting: Sequence[str]) -> dict[str, Any]:
        """Returns the answers whose questions are open."""
        # On a retry, the earlier attempt may have used the answers, so unknown ids are not refused.
        if self._strict and not self._again:
            if not answers:
                raise self._refusal("The resume map names no interrupt", "empty_map", waiting)
            if unknown := sorted(answers.keys() - set(waiting)):
                text = f"Unknown or already-consumed interrupt: {unknown[0]}"
                raise self._refusal(text, "not_pending", waiting, unknown)
        return {question: answer for question, answer in answers.items() if question in waiting}

    def _single(
        self, answer: Any, questions: Sequence[str] | None, waiting: Sequence[str], *, stopped: bool
    ) -> dict[str, Any]:
        """Returns an answer without an id, for the one question that was open when the answer was sent."""
        if questions is None:
            if self._again:  # an earlier attempt may have used the answer, and the graph then asked another question
                return {}
            questions = waiting
        if len(questions) > 1:
            raise self._refusal(_SEVERAL_ASKED, "ambiguous", waiting)
        if not questions and not waiting and stopped:
            raise self._refusal(_NOTHING_ASKED, "not_pending", waiting)
        return {question: answer for question in questions if question in waiting}

    def _refusal(
        self,
        text: str,
        reason: Literal["not_pending", "empty_map", "ambiguous"],
        waiting: Sequence[str],
        unknown: Sequence[str] = (),
    ) -> Exception:
        if self._strict:
            return UnknownInterruptError(text, reason=reason, interrupt_ids=unknown, pending_ids=sorted(waiting))
        return RuntimeError(text)

    async def _ask_anew(self, at: Mapping[str, Any], saved: Any, answer: Any, by_id: bool) -> Mapping[str, Any]:
        """Copies an older checkpoint, which becomes the newest, and lets the graph ask its questions again.

        Returns the answers keyed by the new ids of the questions. Changes nothing when no answer is for a question of that
        checkpoint. An answer without an id is for the first question of the task.

        Raises:
            RuntimeError, UnknownInterruptError: as `resolve`.
        """
        graph = self._graph
        tasks = (await graph.aget_state(at)).tasks
        asked_there = [question.id for task in tasks for question in task.interrupts]
        if not by_id and len(asked_there) != 1:
            raise self._refusal(_SEVERAL_ASKED if asked_there else _NOTHING_ASKED, "ambiguous", asked_there)
        given = {task_id: value for task_id, channel, value in saved.pending_writes or () if channel == _RESUME}
        meant: dict[Any, _EarlierAnswer] = {}
        for task in tasks:
            if not by_id and task.interrupts:
                meant[task.path] = _EarlierAnswer(answer)
            earlier = given.get(task.id, [])
            asked = [question_id(f"{task.name}:{task.id}", number) for number in range(len(earlier) + 1)]
            for question in answer if by_id else ():
                if question in asked:
                    meant[task.path] = _EarlierAnswer(answer[question], earlier[: asked.index(question)])
                for one in task.interrupts:
                    if question == one.id and question not in asked:
                        meant[task.path] = _EarlierAnswer(answer[question], inner=one)
        if not meant:
            return self._by_id(answer, ())
        run = self._run
        isolated = await graph.checkpointer.branching.begin(at["configurable"], run_id=run.run_id, fence=run.fence)
        fork = await graph.aupdate_state(at, None, as_node="__copy__")
        where = {**at, "configurable": {**at["configurable"], **fork["configurable"]}}
        for task in (await self._state()).tasks:
            if task.path in meant and meant[task.path].before:
                await graph.checkpointer.aput_writes(where, [(_RESUME, meant[task.path].before)], task.id)
        # From a checkpoint that it names, LangGraph begins subgraphs anew, and drops answers.
        is_first = not any(earlier.before for earlier in meant.values())
        await self._go_on(where if isolated and is_first else None)
        asking = [task for task in (await self._state()).tasks if task.path in meant]
        return {
            question.id: meant[task.path].answer
            for task in asking
            for question in task.interrupts
            if meant[task.path].inner is None or meant[task.path].inner.value == question.value
        }

    async def _addressable(self, chosen: dict[str, Any], state: Any) -> ResolvedAnswer:
        """Returns the answers in a form that reaches their questions in LangGraph.

        A question within a graph that keeps no checkpoints gets a new id each time. If its task is the only one that remains to
        run, the answer goes to the first question of that task; such an answer is never stored (`checkpointer.visible`). If the
        state of an inner graph was updated after its question, the question gets a new id, so the graph first asks it again.
        """
        [question, *others] = chosen
        answer = chosen[question]
        by_id = ResolvedAnswer(found=True, asks=True, resume=chosen, questions=list(chosen))
        if others or answer is None or len(state.next) > 1:
            return by_id
        task = _asker(state, question)
        namespace = f"{task.name}:{task.id}"
        if any(question == question_id(namespace, number) for number in range(_MANY)):
            return by_id  # the task asked it itself
        saved = await self._graph.checkpointer.aget_tuple(self._config)
        askers = {
            task_id
            for task_id, channel, value in saved.pending_writes or ()
            if channel == _INTERRUPT and any(question == one.id for one in value)
        }
        if len(askers) > 1:
            return by_id  # a graph that the task called asked it
        if not await self._has_state(namespace) and not await self._has_state(task.name):
            await self._check_is_first(task)
            return ResolvedAnswer(found=True, asks=True, resume=answer, questions=[question])
        names = await self._moved_on(question)
        if names is None:
            return by_id
        await self._go_on()
        anew = await self._asked_by(names)
        return ResolvedAnswer(found=bool(anew), asks=True, resume=dict.fromkeys(anew, answer), questions=anew)

    async def _check_is_first(self, task: Any) -> None:
        """Checks that the first question of a task, when the task is executed again, is the only one that it has open.

        Raises:
            RuntimeError: it is another question, or a node started by a `goto` may ask first.
        """
        anew: list[Any] = []
        if not self._goes and len(task.interrupts) == 1:
            await self._go_on()
            tasks = (await self._state()).tasks
            anew = [one.value for other in tasks if other.id == task.id for one in other.interrupts]
        if anew != [one.value for one in task.interrupts]:
            raise self._refusal(_OUT_OF_REACH, "ambiguous", [one.id for one in task.interrupts])

    async def _moved_on(self, question: str) -> list[str] | None:
        """Returns the nodes, outermost first, that asked a question in an inner state that was updated since.

        Returns None when the state was not updated, and an empty list when the asking node is unknown.
        """
        state, names = await self._state(subgraphs=True), []
        while (task := _asker(state, question)) is not None:
            names.append(task.name)
            if getattr(task.state, "metadata", None) is None:
                return None
            state = task.state
        inner = {**state.config["configurable"]}
        inner.pop("checkpoint_id", None)
        async for earlier in self._graph.aget_state_history({"configurable": inner}):
            if (task := _asker(earlier, question)) is not None:
                return [*names, task.name]
        return []

    async def _asked_by(self, names: Sequence[str]) -> list[str]:
        """Returns the open questions of a node, given by its node names from the root inwards."""
        tasks: list[Any] = []
        states = [await self._state(subgraphs=True)]
        for name in names:
            tasks = [task for state in states for task in state.tasks if task.name == name]
            states = [task.state for task in tasks if hasattr(task.state, "tasks")]
        return [question.id for task in tasks for question in task.interrupts]

    async def _has_state(self, namespace: str) -> bool:
        """Returns whether an inner graph has checkpoints in a namespace."""
        inner = {**self._config["configurable"], "checkpoint_ns": namespace}
        return await self._graph.checkpointer.aget_tuple({"configurable": inner}) is not None

    async def _go_on(self, config: Mapping[str, Any] | None = None) -> None:
        """Runs the graph until it asks its questions. Emits no events."""
        async for _ in self._graph.astream(None, config or self._config, **self._call):
            pass

    async def _state(self, *, subgraphs: bool = False) -> Any:
        """Returns the thread's newest state."""
        return await self._graph.aget_state(shown(self._config), subgraphs=subgraphs)


def _asker(state: Any, question: str) -> Any:
    """Returns the task of a state that asked a question."""
    return next((task for task in state.tasks if any(question == one.id for one in task.interrupts)), None)


def _id_of(saved: Any) -> Any:
    return saved.config["configurable"]["checkpoint_id"]
