"""The guide "Copying Threads" works with the stock clients: in three languages, as it is written now and as first printed."""

import json
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from tests.server import running

EXAMPLES = Path(__file__).parents[2] / "examples"
GUIDE = EXAMPLES / "copying_threads"
COMMANDS = {"py": sys.executable, "mjs": "node", "sh": "bash"}


def serving(folder: Path, own: dict[str, object]):
    """The example app, copied, with our own block in its configuration."""
    app = folder / "app"
    shutil.copytree(EXAMPLES / "chat", app, ignore=shutil.ignore_patterns(".threadloom", "__pycache__"))
    config = json.loads((app / "langgraph.json").read_text())
    (app / "langgraph.json").write_text(json.dumps({**config, **own}))
    return running(app, folder / "data")


@pytest.fixture(scope="module")
def url(tmp_path_factory):
    with serving(tmp_path_factory.mktemp("today"), {}) as server:
        yield server.url


@pytest.fixture(scope="module")
def url_without_ids(tmp_path_factory):
    with serving(tmp_path_factory.mktemp("printed"), {"threadloom": {"checkpoint_thread_id": False}}) as server:
        yield server.url


def outcome(script: Path, url: str) -> tuple[int, str]:
    command = [COMMANDS[script.suffix[1:]], str(script), url]
    done = subprocess.run(command, cwd=GUIDE, capture_output=True, text=True, timeout=300)
    return done.returncode, done.stdout + done.stderr


@pytest.mark.parametrize("language", COMMANDS)
def test_the_guide_says_that_the_histories_are_the_same(url, language):
    assert outcome(GUIDE / f"copying_threads.{language}", url) == (0, "The histories are the same.\n")


@pytest.mark.parametrize("language", COMMANDS)
def test_the_guide_as_first_printed_works_without_ids_in_checkpoints(url_without_ids, language):
    assert outcome(GUIDE / "as_printed" / f"guide.{language}", url_without_ids) == (0, "The histories are the same.\n")


@pytest.mark.parametrize("language", COMMANDS)
def test_todays_guide_works_without_ids_in_checkpoints_too(url_without_ids, language):
    assert outcome(GUIDE / f"copying_threads.{language}", url_without_ids) == (0, "The histories are the same.\n")


def test_the_guide_as_first_printed_with_curl_works_on_a_default_server(url):
    assert outcome(GUIDE / "as_printed" / "guide.sh", url) == (0, "The histories are the same.\n")


def test_the_pager_pages_through_edits_and_answers_made_anew(url, tmp_path):
    shutil.copy(EXAMPLES / "pager" / "pager.mjs", tmp_path)
    (tmp_path / "node_modules").symlink_to(GUIDE / "node_modules")
    said = ["one", "two", "/edit 2 TWO", "/redo 3", "/edit 0 ONE", "/show 0 1", "/show 2 1", "three"]
    done = subprocess.run(
        ["node", "pager.mjs", url], cwd=tmp_path, input="\n".join(said), capture_output=True, text=True, timeout=300
    )
    assert done.returncode == 0, done.stderr
    screens = [screen.strip().splitlines() for screen in done.stdout.split("--\n")][: len(said)]
    first, again = 'ai: You said "one"', 'ai: You said "TWO", and before that "one"'
    assert [line.partition(". ")[0] for line in screens[1]] == [
        "0 human: one",
        f"1 {first}",
        "2 human: two",
        '3 ai: You said "two", and before that "one"',
    ]
    assert screens[2][2] == "2 human: TWO  < 2/2 >"
    assert screens[3][2:] == ["2 human: TWO  < 2/2 >", f"3 {again}. That makes 2 messages of yours.  < 2/2 >"]
    assert screens[4][0] == "0 human: ONE  < 2/2 >" and len(screens[4]) == 2
    assert screens[5][0] == "0 human: one  < 1/2 >" and screens[5][2:] == screens[3][2:]
    assert screens[6][2] == "2 human: two  < 1/2 >"
    assert screens[7][:4] == screens[6] and screens[7][4] == "4 human: three"
    assert '"three", and before that "two"' in screens[7][5]


def test_the_guides_check_can_fail(url):
    """With the ids in the checkpoints, what was first printed finds a difference: the check is no formality."""
    status, told = outcome(GUIDE / "as_printed" / "guide.py", url)
    assert status == 1 and "AssertionError" in told
