"""What is known of a thread's questions at the moment when a run brings an answer (contract, runs §9)."""

from typing import Any

import msgspec

from threadloom.codec import from_json
from threadloom.engine.answers import Given
from threadloom.storage.base import Tx
from threadloom.types import GIVEN, Run, Thread, names_questions


def questions_of(thread: Thread) -> list[str]:
    """The ids of the questions that a thread's record shows as open."""
    shown = from_json(thread.interrupts_json) if thread.interrupts_json else {}
    return [question["id"] for of_task in shown.values() for question in of_task]


async def note_given(tx: Tx, run: Run, checkpoint_id: str | None) -> None:
    """Binds the answer that a new run brings to the questions that are open now, in the transaction that makes the run.

    An answer without an id that is given while other runs are under way is for a question that the thread's record shows.
    Only if none of those runs brings an answer itself may it be for one that they are still to ask.

    Args:
        checkpoint_id: the checkpoint that the run is to start from, if it names one.
    """
    command = run.kwargs.get("command") or {}
    if "resume" not in command:
        return
    newest = None
    if checkpoint_id is not None:
        newest = await tx.lineage.latest(run.thread_id, "")
    questions = None
    if not names_questions(command["resume"]) or not command["resume"]:
        active = await tx.runs.active(run.thread_id)
        if not active or any(_answers(other) for other in active):
            thread = await tx.threads.get(run.thread_id)
            questions = questions_of(thread) if thread is not None else []
    given = Given(questions=questions, newest=newest is not None and newest.cid == checkpoint_id)
    run.kwargs[GIVEN] = msgspec.to_builtins(given)


def _answers(run: Run) -> bool:
    command: dict[str, Any] = run.kwargs.get("command") or {}
    return "resume" in command
