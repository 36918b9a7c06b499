"""Which question an answer is for.

LangGraph keeps an answer that names no question as a pending write, and gives it to whichever question is asked next: in the
same node, in another, in a subgraph, and in later runs. It also takes the id of a task's first question for that of its next.
Here every answer is resolved, before the graph is called, to the id of a question that is open, or it answers nothing.
"""

from collections.abc import Mapping, Sequence
from typing import Any, Literal

import msgspec
from langgraph.errors import EmptyInputError, UnknownInterruptError

from threadloom.checkpointer import question_id
from threadloom.engine.snapshot import shown
from threadloom.types import OPEN_QUESTIONS, Run, names_questions

Graph = Any
"""A compiled graph. Its own types ask for more than a server of anybody's graphs can know."""

_MANY = 100
"""Questions of one node among which one is looked for before inner graphs are."""

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
    """What was known when an answer was given.

    `questions`: the ids of the questions that were open then; None when a run that was under way was still to ask.
    `newest`: the checkpoint that the answer names was the thread's newest.
    """

    questions: Sequence[str] | None = None
    newest: bool = False


class ResolvedAnswer(msgspec.Struct, frozen=True):
    """An answer as LangGraph is to be told it.

    `found`: its question is open, and `resume` is what to resume with. `asks`: some question is open. `questions`: the ids of
    those that are answered.
    """

    found: bool
    asks: bool
    resume: Any = None
    questions: Sequence[str] = ()


class _EarlierAnswer(msgspec.Struct, frozen=True):
    """An answer to what a task of an older checkpoint asked.

    `before`: the answers to what the task had asked before. `inner`: the question, when a graph within the task asked it.
    """

    answer: Any
    before: Sequence[Any] = ()
    inner: Any = None


class Answers:
    """Resolves the answer that a run brings.

    Args:
        run: its `kwargs[OPEN_QUESTIONS]` is a `OpenQuestions`.
        graph: the thread's graph, with our checkpointer.
        config: the run's. Afterwards it names no checkpoint: the run goes on at the newest.
        call: further arguments with which the graph is called.
    """

    def __init__(self, run: Run, graph: Graph, config: dict[str, Any], call: Mapping[str, Any]) -> None:
        self._given = msgspec.convert(run.kwargs.get(OPEN_QUESTIONS) or {}, OpenQuestions)
        self._strict = bool(run.kwargs.get("strict_resume"))
        self._again = run.was_begun_before
        self._goes = bool((run.kwargs.get("command") or {}).get("goto"))
        self._graph = graph
        self._config = config
        self._call = call

    async def resolve(self, answer: Any) -> ResolvedAnswer:
        """The answer, by the id of its question.

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
                if self._given.newest:  # another answer was quicker, and the thread went on
                    return ResolvedAnswer(found=False, asks=bool((await self._state()).interrupts))
                answer = await self._ask_anew(at, saved, answer, by_id)
                by_id, self._strict = True, False  # what was asked there has been found
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
        """Those of the answers whose questions are open."""
        # An earlier attempt may have used them.
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
        """An answer without an id, for the one question that was open when it was given."""
        if questions is None:
            if self._again:  # an earlier attempt may have used it, and the graph asked another question then
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
        """Lets an older checkpoint's questions be asked anew on a copy of it, which becomes the newest.

        Gives the answers by the ids that the questions got there. Nothing is changed when none is for a question of it. A bare
        answer is for what its task asks first.

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
        fork = await graph.aupdate_state(at, None, as_node="__copy__")
        where = {**at, "configurable": {**at["configurable"], **fork["configurable"]}}
        for task in (await self._state()).tasks:
            if task.path in meant and meant[task.path].before:
                await graph.checkpointer.aput_writes(where, [(_RESUME, meant[task.path].before)], task.id)
        await self._go_on()
        asking = [task for task in (await self._state()).tasks if task.path in meant]
        return {
            question.id: meant[task.path].answer
            for task in asking
            for question in task.interrupts
            if meant[task.path].inner is None or meant[task.path].inner.value == question.value
        }

    async def _addressable(self, chosen: dict[str, Any], state: Any) -> ResolvedAnswer:
        """The answers as LangGraph can bring them to their questions.

        A question within a graph that keeps no checkpoints gets another id each time. Where its task is the only one that is
        still to run, the answer goes to what that task asks first; it is never stored (`checkpointer.visible`). A question
        within a graph whose state was written by hand since is asked anew first, for its id is another then.
        """
        [question, *others] = chosen
        answer = chosen[question]
        by_id = ResolvedAnswer(found=True, asks=True, resume=chosen, questions=list(chosen))
        if others or answer is None or len(state.next) > 1:
            return by_id
        task = _asker(state, question)
        namespace = f"{task.name}:{task.id}"
        if any(question == question_id(namespace, number) for number in range(_MANY)):
            return by_id  # the task's own
        saved = await self._graph.checkpointer.aget_tuple(self._config)
        askers = {
            task_id
            for task_id, channel, value in saved.pending_writes or ()
            if channel == _INTERRUPT and any(question == one.id for one in value)
        }
        if len(askers) > 1:
            return by_id  # a task that the task called
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
        """Makes sure that what a task asks first, once it begins anew, is the only question that it has open.

        Raises:
            RuntimeError, UnknownInterruptError: it is another, or a node that a `goto` begins may be first.
        """
        anew: list[Any] = []
        if not self._goes and len(task.interrupts) == 1:
            await self._go_on()
            tasks = (await self._state()).tasks
            anew = [one.value for other in tasks if other.id == task.id for one in other.interrupts]
        if anew != [one.value for one in task.interrupts]:
            raise self._refusal(_OUT_OF_REACH, "ambiguous", [one.id for one in task.interrupts])

    async def _moved_on(self, question: str) -> list[str] | None:
        """The nodes, from the root inwards, that asked a question in an inner state that was written to since.

        None: the question stands as it was asked. Nothing in it: it cannot be told who asked.
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
        """The questions that are open at a node, named from the root inwards."""
        tasks: list[Any] = []
        states = [await self._state(subgraphs=True)]
        for name in names:
            tasks = [task for state in states for task in state.tasks if task.name == name]
            states = [task.state for task in tasks if hasattr(task.state, "tasks")]
        return [question.id for task in tasks for question in task.interrupts]

    async def _has_state(self, namespace: str) -> bool:
        """Whether an inner graph keeps checkpoints in a namespace."""
        inner = {**self._config["configurable"], "checkpoint_ns": namespace}
        return await self._graph.checkpointer.aget_tuple({"configurable": inner}) is not None

    async def _go_on(self) -> None:
        """Lets the graph ask what it asks, without telling anybody."""
        async for _ in self._graph.astream(None, self._config, **self._call):
            pass

    async def _state(self, *, subgraphs: bool = False) -> Any:
        """The thread's newest state."""
        return await self._graph.aget_state(shown(self._config), subgraphs=subgraphs)


def _asker(state: Any, question: str) -> Any:
    """The task of a state that asks a question."""
    return next((task for task in state.tasks if any(question == one.id for one in task.interrupts)), None)


def _id_of(saved: Any) -> Any:
    return saved.config["configurable"]["checkpoint_id"]
