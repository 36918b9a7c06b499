"""How two states differ, channel by channel and message by message."""

from threadloom.lineage.state_difference import channel_changes, message_changes


def said(id_, text):
    return {"id": id_, "type": "human", "content": text}


def test_each_channel_says_how_it_changed():
    a = {"kept": [1], "changed": {"x": 1}, "gone": None, "kind": 1}
    b = {"kept": [1], "changed": {"x": 2}, "new": 0, "kind": True}
    assert channel_changes(a, b) == {
        "kept": {"change": "same"},
        "changed": {"change": "changed", "a": {"x": 1}, "b": {"x": 2}},
        "gone": {"change": "removed", "a": None},
        "kind": {"change": "changed", "a": 1, "b": True},
        "new": {"change": "added", "b": 0},
    }


def aligned(a, b):
    return [(one["id"], one["change"]) for one in message_changes(a, b)]


def test_messages_are_aligned_by_id():
    a = [said("1", "hi"), said("2", "one"), said("3", "two"), said("4", "bye")]
    b = [said("1", "hi"), said("2", "ONE"), said("5", "new"), said("4", "bye")]
    assert aligned(a, b) == [("1", "same"), ("2", "changed"), ("3", "removed"), ("5", "added"), ("4", "same")]
    assert message_changes(a, b)[1] == {"id": "2", "change": "changed", "a": a[1], "b": b[1]}


def test_what_was_trimmed_at_the_start_comes_first():
    a = [said("1", "x"), said("2", "y"), said("3", "z")]
    assert aligned(a, a[2:]) == [("1", "removed"), ("2", "removed"), ("3", "same")]
    assert aligned(a[2:], a) == [("1", "added"), ("2", "added"), ("3", "same")]


def test_messages_without_an_id_are_aligned_by_content_each_once():
    same = {"content": "hi"}
    assert aligned([same, same], [same]) == [(None, "same"), (None, "removed")]
    assert aligned([same], [same, "text", 7]) == [(None, "same"), (None, "added"), (None, "added")]
    assert aligned([said("1", "x"), said("1", "y")], [said("1", "x")]) == [("1", "same"), ("1", "removed")]


def test_anything_but_a_list_is_no_messages():
    for odd in (None, "text", {"id": "1"}, 7):
        assert message_changes(odd, odd) == []
        assert aligned(odd, [said("1", "x")]) == [("1", "added")]


def test_ten_thousand_equal_messages_are_aligned_in_time():
    many = [{"content": "again"}] * 10_000
    assert {change for _, change in aligned(many, many)} == {"same"}
