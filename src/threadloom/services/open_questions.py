"""Records the open questions of a thread at the moment when a run with an answer is created.

See docs/contract/runs.md#interrupts-and-commands.
"""

from typing import Any

import msgspec

from threadloom.checkpointer import asked_under
from threadloom.codec import from_json
from threadloom.engine.answers import OpenQuestions
from threadloom.storage.base import Tx
from threadloom.types import OPEN_QUESTIONS, Run, Thread, names_questions


def questions_of(thread: Thread) -> list[str]:
    """Returns the ids of the open questions in a thread's record."""
    shown = from_json(thread.interrupts_json) if thread.interrupts_json else {}
    return [question["id"] for of_task in shown.values() for question in of_task]


async def note_given(tx: Tx, run: Run, checkpoint_id: str | None) -> None:
    """Binds the answer of a new run to the questions that are open now. Called in the transaction that creates the run.

    While other runs are active, the thread's record shows the questions from before these runs. Questions that the runs have
    asked are stored under their newest checkpoint: clients see them in the stream before the run ends, and may answer at once. If
    there are no questions and no active run brings an answer itself, an answer without an id may be for a question that an active
    run has yet to ask.

    Args:
        checkpoint_id: the checkpoint that the run starts from, if the request names one.
    """
    command = run.kwargs.get("command") or {}
    if "resume" not in command:
        return
    newest = None
    if checkpoint_id is not None:
        newest = await tx.lineage.latest(run.thread_id, "")
    questions = None
    if not names_questions(command["resume"]) or not command["resume"]:
        questions = await _open(tx, run.thread_id)
    given = OpenQuestions(questions=questions, newest=newest is not None and newest.checkpoint_id == checkpoint_id)
    run.kwargs[OPEN_QUESTIONS] = msgspec.to_builtins(given)


async def _open(tx: Tx, thread_id: str) -> list[str] | None:
    """Returns the questions that an answer without an id may be for; None if they have yet to be asked."""
    active = await tx.runs.has_active(thread_id)
    if active:
        newest = await tx.lineage.latest(thread_id, "")
        if asked := asked_under(newest) if newest is not None else []:
            return asked
    thread = await tx.threads.get(thread_id)
    shown = questions_of(thread) if thread is not None else []
    if shown or not active:
        return shown
    return shown if any(_answers(other) for other in await tx.runs.active(thread_id)) else None


def _answers(run: Run) -> bool:
    command: dict[str, Any] = run.kwargs.get("command") or {}
    return "resume" in command
