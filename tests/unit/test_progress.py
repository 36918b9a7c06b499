"""How far a long work is: in place on a terminal, as lines elsewhere, and nothing of what is done at once."""

import io
import time

import pytest

from threadloom.cli import progress


class Terminal(io.StringIO):
    def isatty(self):
        return True


@pytest.fixture
def shown(monkeypatch):
    monkeypatch.setattr(progress, "TERMINAL_SECONDS", 0.05)
    monkeypatch.setattr(progress, "LINE_SECONDS", 0.05)

    def run(stream, parts, wait=0.3):
        monkeypatch.setattr("sys.stderr", stream)
        with progress.working("copying") as tell:
            for part in parts:
                tell(part)
            time.sleep(wait)
        return stream.getvalue()

    return run


def test_a_terminal_sees_one_line_that_is_removed_at_the_end(shown):
    text = shown(Terminal(), [0.25, 0.5])
    assert text.startswith(f"{progress.CLEAR}copying … 50%, 0 s{progress.CLEAR}copying")
    assert text.endswith(progress.CLEAR)
    assert "\n" not in text


def test_a_file_gets_lines_also_when_no_part_is_told(shown):
    assert shown(io.StringIO(), []).splitlines()[0] == "copying … 0 s"
    assert shown(io.StringIO(), [0.1]).splitlines()[0] == "copying … 10%, 0 s"


def test_what_is_done_at_once_is_not_shown(shown, monkeypatch):
    monkeypatch.setattr(progress, "LINE_SECONDS", 60)
    assert shown(io.StringIO(), [0.5, 1], wait=0) == ""
