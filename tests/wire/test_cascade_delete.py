"""Deleting a thread with its copies: all of them and nothing else, and nothing of their history stays in the database."""

import json
import sqlite3
import sys
import threading
from pathlib import Path

import httpx
import pytest

from tests import forkserver
from tests.server import running

APP = Path(__file__).parents[1] / "apps" / "limits"
CHAT = Path(__file__).parents[2] / "examples" / "chat"


@pytest.fixture(scope="module")
def server(tmp_path_factory):
    with running(CHAT, tmp_path_factory.mktemp("erasing") / "data") as server:
        yield server


@pytest.fixture
def http(server):
    with httpx.Client(base_url=server.url, timeout=30) as client:
        yield client


def say(http, thread_id, text):
    body = {"assistant_id": "agent", "input": {"messages": [{"role": "user", "content": text}]}}
    http.post(f"/threads/{thread_id}/runs/wait", json=body).raise_for_status()


def a_thread(http, text="hello"):
    thread_id = http.post("/threads", json={}).json()["thread_id"]
    say(http, thread_id, text)
    return thread_id


def copy(http, thread_id, **how):
    return http.post(f"/threads/{thread_id}/copy", json=how).raise_for_status().json()["thread_id"]


def erase(http, thread_id):
    return http.delete(f"/threads/{thread_id}", params={"cascade": "copies"})


def there(http, *thread_ids):
    return [thread_id for thread_id in thread_ids if http.get(f"/threads/{thread_id}").status_code == 200]


def stored(server, text):
    """The tables that hold a text, once for each row with it."""
    database = sqlite3.connect(f"file:{server.data / 'threadloom.db'}?mode=ro", uri=True)
    try:
        tables = [name for (name,) in database.execute("SELECT name FROM sqlite_master WHERE type = 'table'")]
        rows = [(table, row) for table in tables for row in database.execute(f'SELECT * FROM "{table}"')]
    finally:
        database.close()
    return [table for table, row in rows if text in repr(row)]


def test_a_thread_goes_with_all_that_descend_from_it_and_nothing_else(http, server):
    root = a_thread(http, "the root knows nothing of it")
    source = copy(http, root)
    say(http, source, "a very private word")
    child = copy(http, source)
    oldest = http.get(f"/threads/{source}/history", params={"limit": 100}).json()[-1]["checkpoint"]["checkpoint_id"]
    early = copy(http, source, checkpoint_id=oldest)
    gone = copy(http, child)
    say(http, gone, "something else")
    grandchild = copy(http, gone)
    sibling = copy(http, root)
    http.delete(f"/threads/{gone}").raise_for_status()
    assert stored(server, "a very private word")
    answer = erase(http, source)
    assert answer.status_code == 200
    assert answer.json()["thread_ids"][0] == source
    assert sorted(answer.json()["thread_ids"]) == sorted([source, child, early, grandchild])
    assert there(http, root, source, child, early, gone, grandchild, sibling) == [root, sibling]
    assert stored(server, "a very private word") == stored(server, "something else") == []
    assert "the root knows" in json.dumps(http.get(f"/threads/{sibling}/state").json())


def test_without_it_copies_keep_what_they_share(http, server):
    source = a_thread(http, "shared words")
    kept = copy(http, source)
    assert http.delete(f"/threads/{source}").status_code == 204
    assert "shared words" in json.dumps(http.get(f"/threads/{kept}/state").json())
    assert erase(http, kept).json() == {"thread_ids": [kept]}
    assert stored(server, "shared words") == []


def test_bad_questions_are_refused(http):
    thread_id = a_thread(http)
    answer = http.delete(f"/threads/{thread_id}", params={"cascade": "everything"})
    assert (answer.status_code, "cascade" in answer.text) == (422, True)
    assert there(http, thread_id) == [thread_id]
    assert erase(http, "01a20be8-681c-74a1-ade6-26e7b55ceb54").status_code == 404


def test_the_command_line_tells_what_was_deleted(http, server):
    source = a_thread(http)
    child = copy(http, source)
    other = a_thread(http)

    def delete(*words):
        command = [sys.executable, "-m", "threadloom", "threads", "delete", *words, "--url", server.url]
        done = forkserver.run(command, timeout=60)
        return done.returncode, done.stdout.split()

    assert delete(source, "--cascade") == (0, [source, child])
    assert delete(other) == (0, [other])
    assert delete(other) == (1, [])


def test_what_runs_is_stopped_and_copies_made_meanwhile_go_too(tmp_path):
    with running(APP, tmp_path / "data") as server, httpx.Client(base_url=server.url, timeout=30) as http:
        source = http.post("/threads", json={}).json()["thread_id"]
        http.post(f"/threads/{source}/runs", json={"assistant_id": "nap", "input": {}}).raise_for_status()
        copies = [copy(http, source)]
        http.post(f"/threads/{copies[0]}/runs", json={"assistant_id": "nap", "input": {}}).raise_for_status()

        def keep_copying():
            with httpx.Client(base_url=server.url, timeout=30) as other:
                while (made := other.post(f"/threads/{source}/copy")).status_code == 200:
                    copies.append(made.json()["thread_id"])

        copier = threading.Thread(target=keep_copying)
        copier.start()
        erased = erase(http, source).raise_for_status().json()["thread_ids"]
        copier.join()
        assert sorted(erased) == sorted([source, *copies])
        assert http.post("/threads/count", json={}).json() == 0
        assert http.get("/metrics?format=json").json()["queue"]["n_running"] == 0
