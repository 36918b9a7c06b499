"""Where a thread is cut at a message: never between a tool call and its result."""

import json

import pytest

from threadloom.lineage.turns import Cut, RootCheckpoint, Turns, cut

H1, A1, H2 = ["h1", "human", "d"], ["a1", "ai", "d"], ["h2", "human", "d"]
CALLS = ["calls", "ai", "d", ["c1", "c2"]]
R1, R2 = ["r1", "tool", "d", "c1"], ["r2", "tool", "d", "c2"]
A2 = ["a2", "ai", "d"]


def talk(*steps):
    """Root checkpoints with the messages that each adds; None: one with an input."""
    rows, length = [], 0
    for number, added in enumerate(steps):
        record = None if added is None else [*([[0, length]] if length else []), *added]
        length += len(added or ())
        rows.append(
            RootCheckpoint(
                number + 1,
                str(number),
                str(number - 1) if number else None,
                "input" if added is None else "loop",
                number - 1,
                "run",
                None if record is None else json.dumps(record).encode(),
            )
        )
    return Turns(rows)


#            0     1     2     3     4     5        6     7     8
ONE_STEP = (None, [H1], [A1], None, [H2], [CALLS], [R1, R2], [A2])
TWO_STEPS = (None, [H1], [A1], None, [H2], [CALLS], [R1], [R2], [A2])


@pytest.mark.parametrize("at", ["before", "after"])
@pytest.mark.parametrize("id_", ["h1", "a1", "h2", "calls", "r1", "r2", "a2"])
@pytest.mark.parametrize("steps", [ONE_STEP, TWO_STEPS])
def test_no_cut_shows_calls_without_their_results(steps, id_, at):
    turns = talk(*steps)
    found = cut(turns, id_, at)
    assert found is not None and found.at == at
    if found.checkpoint_id is None:
        assert (id_, at) == ("h1", "before")
        return
    last = turns.last_at(found.checkpoint_id)
    shown = [turn.id for turn in turns.turns[: last + 1]]
    assert "calls" not in shown or {"r1", "r2"} <= set(shown)
    assert found.moved == (found.group == "calls")


@pytest.mark.parametrize(
    ("id_", "at", "checkpoint_id", "moved"),
    [
        ("h1", None, None, False),
        ("a1", None, "2", False),
        ("h2", None, "2", False),
        ("h2", "after", "4", False),
        ("calls", "before", "4", False),
        ("calls", None, "4", True),
        ("r1", None, "4", True),
        ("r2", "before", "4", True),
        ("r2", None, "7", False),
        ("a2", "before", "7", False),
        ("a2", None, "8", False),
    ],
)
def test_a_cut_in_a_group_is_before_the_message_that_calls(id_, at, checkpoint_id, moved):
    found = cut(talk(*TWO_STEPS), id_, at)
    assert (found.checkpoint_id, found.moved, found.namespace) == (checkpoint_id, moved, "")


def test_calls_that_nothing_answers_are_no_group():
    """Tools of a client, or a question to a person: nothing is separated from anything."""
    turns = talk(None, [H1], [CALLS])
    assert cut(turns, "calls", None) == Cut("2", "", False, "ai", "after", "2")


def test_a_human_message_between_calls_and_results_is_in_the_group():
    turns = talk(None, [H1], [CALLS], None, [H2], [R1, R2])
    assert cut(turns, "h2", None) == Cut("1", "", True, "human", "before", "4", "calls")


def test_the_message_of_the_newest_state_counts_among_those_with_one_id():
    rows = list(talk(None, [H1], [A1]).rows)
    other = json.dumps([["h1", "human", "other"]]).encode()
    rows.append(RootCheckpoint(9, "fork", "0", "loop", 0, "run", other))
    assert cut(Turns(rows), "h1", "after").checkpoint_id == "fork"
    rows.append(RootCheckpoint(10, "back", "2", "loop", 2, "run", None))
    assert cut(Turns(rows), "h1", "after").checkpoint_id == "1"


def test_an_unknown_message():
    assert cut(talk(None, [H1]), "none", None) is None
