"""`threadloom threads` as a user meets it: real processes against a running server."""

import json

import httpx
import pytest

from tests.server import free_port, running
from tests.wire.test_cli import CHAT, HELLO, a_thread, threadloom_command


@pytest.fixture(scope="module")
def url(tmp_path_factory):
    with running(CHAT, tmp_path_factory.mktemp("cli") / "data") as server:
        yield server.url


@pytest.fixture
def http(url):
    with httpx.Client(base_url=url, timeout=30) as client:
        yield client


def test_copy_and_verify(url, http):
    thread_id = a_thread(http)
    status, out, _ = threadloom_command("threads", "copy", thread_id, "--url", url)
    assert status == 0
    copy_id = out.strip()
    same = (0, "The histories are the same.\n", "")
    assert threadloom_command("threads", "verify", thread_id, copy_id, "--url", url) == same
    http.post(f"/threads/{copy_id}/runs/wait", json=HELLO).raise_for_status()
    status, out, _ = threadloom_command("threads", "verify", thread_id, copy_id, "--url", url)
    assert status == 1
    assert "The histories differ in checkpoint 1" in out
    status, out, _ = threadloom_command("threads", "verify", thread_id, copy_id, "--json", "--url", url)
    told = json.loads(out)
    assert (status, told["good"], told["equal"], told["damage"]) == (1, False, False, [])
    assert threadloom_command("threads", "verify", thread_id, "--url", url)[0] == 2
    status, out, _ = threadloom_command("threads", "verify", thread_id, "--bytes", "--url", url)
    assert (status, "Nothing is damaged" in out) == (0, True)


def test_verify_reads_histories_longer_than_a_page(url, http):
    thread_id = http.post("/threads", json={"metadata": {"graph_id": "agent"}}).json()["thread_id"]
    for number in range(130):
        values = {"messages": [{"role": "user", "content": str(number)}]}
        http.post(f"/threads/{thread_id}/state", json={"values": values, "as_node": "chat"}).raise_for_status()
    copy_id = threadloom_command("threads", "copy", thread_id, "--url", url)[1].strip()
    for more in ((), ("--bytes",)):
        assert threadloom_command("threads", "verify", thread_id, copy_id, *more, "--url", url)[0] == 0
    oldest = http.post(f"/threads/{thread_id}/history", json={"limit": 1000}).json()[-1]["checkpoint"]["checkpoint_id"]
    cut = threadloom_command("threads", "copy", thread_id, "--at", oldest, "--url", url)[1].strip()
    status, out, _ = threadloom_command("threads", "verify", thread_id, cut, "--url", url)
    assert status == 1
    assert "checkpoint 1" in out


def test_a_copy_may_get_a_given_id(url, http):
    wanted = "0199c7e2-0000-7000-8000-00000000abcd"
    assert threadloom_command("threads", "copy", a_thread(http), "--to", wanted, "--url", url)[1] == f"{wanted}\n"


def test_list_shows_newest_first(url, http):
    thread_id = a_thread(http)
    status, out, _ = threadloom_command("threads", "list", "--limit", 2, "--url", url)
    assert status == 0
    first = out.splitlines()[1]
    assert first.startswith(thread_id)
    assert "idle" in first
    assert first.endswith("agent")
    as_json = threadloom_command("threads", "list", "--limit", 1, "--json", "--url", url)[1]
    assert json.loads(as_json)["thread_id"] == thread_id


@pytest.fixture
def forked(http):
    """A thread with an edited message, and a copy that went another way."""
    thread = http.post("/threads", json={}).json()["thread_id"]

    def say(thread_id, text, **more):
        body = {"assistant_id": "agent", "input": {"messages": [{"role": "user", "content": text}]}, **more}
        assert http.post(f"/threads/{thread_id}/runs/wait", json=body).status_code == 200

    say(thread, "Hello")
    say(thread, "How are you?")
    turns = http.get(f"/threads/{thread}/branches").json()["turns"]
    say(thread, "Who are you?", checkpoint_id=turns[2]["before"])
    copy = http.post(f"/threads/{thread}/copy", json={"message_id": turns[2]["message_id"]}).json()["thread_id"]
    say(copy, "Other words")
    return thread, copy, turns


def test_a_map_and_a_lineage_are_drawn(url, forked):
    thread, copy, turns = forked
    status, drawn, _ = threadloom_command("threads", "map", thread, "--url", url)
    lines = drawn.splitlines()
    assert status == 0
    assert [line.split()[0] for line in lines] == ["●", "●", "├─", "│", "●", "●"]
    assert "Hello" in lines[0]
    assert f"⑂ {copy}" in lines[1]
    assert "How are you? ‹ 1/2 ›" in lines[2]
    assert "Who are you? ‹ 2/2 ›" in lines[4]
    assert turns[2]["message_id"] in threadloom_command("threads", "map", thread, "--ids", "--url", url)[1]
    assert len(json.loads(threadloom_command("threads", "map", thread, "--json", "--url", url)[1])["turns"]) == 6
    status, drawn, _ = threadloom_command("threads", "lineage", copy, "--url", url)
    assert drawn.splitlines()[0] == f"● {thread} idle"
    assert drawn.splitlines()[1].startswith(f"└─ ● {copy} idle copied at ")


def test_a_comparison_is_drawn(url, forked):
    thread, copy, _ = forked
    status, drawn, _ = threadloom_command("threads", "compare", thread, copy, "--url", url)
    assert status == 1
    assert f"first   {thread} +3 checkpoints" in drawn
    changes = [line for line in drawn.splitlines() if line.startswith("  ")]
    assert changes[0] == "    2 equal messages"
    assert changes[1] == "  - human  Who are you?"
    assert changes[3] == "  + human  Other words"
    assert threadloom_command("threads", "compare", thread, thread, "--url", url)[0] == 0


def test_a_head_is_moved_and_named(url, http, forked):
    thread, copy, turns = forked
    head = http.get(f"/threads/{thread}/branches").json()["head"]
    assert threadloom_command("threads", "tag", thread, "good", "--url", url)[1] == f"good  {head}\n"
    earlier = turns[1]["after"]
    assert threadloom_command("threads", "reset", thread, earlier, "--url", url)[1] == f"{head} -> {earlier}\n"
    assert threadloom_command("threads", "reset", thread, "--undo", "--url", url)[1] == f"{earlier} -> {head}\n"
    assert threadloom_command("threads", "promote", thread, copy, "--url", url)[0] == 0
    assert threadloom_command("threads", "compare", thread, copy, "--url", url)[0] == 0
    assert threadloom_command("threads", "tag", thread, "--url", url)[1] == f"good  {head}\n"
    assert threadloom_command("threads", "tag", thread, "good", "--delete", "--url", url)[:2] == (0, "")
    assert threadloom_command("threads", "reset", thread, "--url", url)[0] == 2


def test_copies_are_made_at_a_message(url, http, forked):
    thread, _, turns = forked
    words = ["copy", thread, "--message", turns[2]["message_id"], "--count", "2", "--keep", "latest", "--ttl", "60"]
    status, told, _ = threadloom_command("threads", *words, "--metadata", '{"k": 1}', "--url", url)
    assert status == 0
    for copy in told.split():
        assert http.get(f"/threads/{copy}").json()["metadata"]["k"] == 1
        assert len(http.get(f"/threads/{copy}/history").json()) == 1
    assert threadloom_command("threads", "copy", thread, "--before", "--url", url)[0] == 2
    assert threadloom_command("threads", "copy", thread, "--metadata", "[]", "--url", url)[0] == 2


def test_missing_threads_and_servers_are_said_plainly(url):
    missing = "0199c7e2-0000-7000-8000-000000000000"
    status, _, err = threadloom_command("threads", "copy", missing, "--url", url)
    assert (status, "Traceback" in err) == (1, False)
    assert f"Thread with ID {missing} not found" in err
    status, _, err = threadloom_command("threads", "list", "--url", f"http://127.0.0.1:{free_port()}")
    assert status == 1
    assert "no answer from" in err
