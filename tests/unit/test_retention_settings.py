"""The block `threadloom.retention`, and the log file it asks for."""

import io
import json
import logging
import logging.handlers

import pytest

from threadloom import log
from threadloom.config import load
from threadloom.errors import ConfigError


@pytest.fixture
def read(tmp_path):
    def settings(block, env=None):
        file = tmp_path / "langgraph.json"
        file.write_text(
            json.dumps({"dependencies": ["."], "graphs": {"a": "./a.py:g"}, "threadloom": {"retention": block}})
        )
        return load(file, env or {})

    return settings


@pytest.fixture
def kept_logging():
    """Puts the process's logging back as it was."""
    root = logging.getLogger()
    handlers, level = root.handlers[:], root.level
    yield
    for handler in root.handlers:
        if handler not in handlers:
            handler.close()
    root.handlers[:] = handlers
    root.setLevel(level)
    logging.captureWarnings(False)


def test_without_the_block_runs_stay_and_events_follow_the_environment(read):
    settings = read({}, {"RESUMABLE_STREAM_TTL_SECONDS": "7"})
    assert settings.threadloom.retention.runs_days is None
    assert settings.threadloom.retention.logs_days is None
    assert settings.events_seconds == 7


def test_the_block_wins_over_the_environment(read):
    settings = read({"runs_days": 30, "events_minutes": 1.5, "logs_days": 7}, {"RESUMABLE_STREAM_TTL_SECONDS": "7"})
    assert settings.threadloom.retention.runs_days == 30
    assert settings.events_seconds == 90
    assert settings.threadloom.retention.logs_days == 7


@pytest.mark.parametrize(
    ("block", "named"),
    [
        ({"runs_days": 0}, "threadloom.retention.runs_days"),
        ({"runs_days": "30"}, "threadloom.retention.runs_days"),
        ({"events_minutes": -1}, "threadloom.retention.events_minutes"),
        ({"logs_days": 1.5}, "threadloom.retention.logs_days"),
        ({"logs_days": 0}, "threadloom.retention.logs_days"),
    ],
)
def test_what_does_not_fit_is_named(read, block, named):
    with pytest.raises(ConfigError, match=named):
        read(block)


def test_an_unknown_key_is_told_with_the_nearest(read):
    (warning,) = read({"run_days": 3}).warnings
    assert "threadloom.retention.run_days" in warning and "runs_days" in warning


def test_log_lines_go_to_the_file_too_and_old_files_go(tmp_path, kept_logging):
    file = tmp_path / "logs" / "threadloom.log"
    shown = io.StringIO()
    log.configure("INFO", stream=shown, as_json=False, file=file, file_days=2)
    for day in range(1, 5):
        file.with_name(f"threadloom.log.2026-01-0{day}").write_text("old")
    logging.getLogger("threadloom.test").info("hello")
    assert json.loads(file.read_text())["event"] == "hello"
    assert "hello" in shown.getvalue()
    (kept,) = [
        one for one in logging.getLogger().handlers if isinstance(one, logging.handlers.TimedRotatingFileHandler)
    ]
    kept.doRollover()
    logging.getLogger("threadloom.test").info("next day")
    others = [one.name for one in file.parent.iterdir() if one != file]
    assert len(others) == 2
    assert json.loads(file.read_text())["event"] == "next day"
