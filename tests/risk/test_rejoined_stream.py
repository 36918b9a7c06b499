"""A stream that is left and rejoined with `Last-Event-ID` has no gap and no double, wherever it was cut."""

from collections.abc import Iterator
from pathlib import Path

import httpx
import pytest

from tests.server import running

APP = Path(__file__).parents[1] / "apps" / "risk"
STEPS = 12


@pytest.fixture(scope="module")
def client(tmp_path_factory):
    with running(APP, tmp_path_factory.mktemp("rejoin") / "data") as server, httpx.Client(base_url=server.url) as http:
        yield http


def events(answer: httpx.Response) -> Iterator[tuple[str, str, str]]:
    """Id, name and data of each event."""
    event: dict[str, str] = {}
    for line in answer.iter_lines():
        name, _, value = line.partition(": ")
        if line:
            event[name] = value
        elif "event" in event:
            yield event.get("id", ""), event["event"], event.get("data", "")
            event = {}


def a_run(client: httpx.Client) -> str:
    """The path of the stream of a run that has just begun."""
    thread_id = client.post("/threads", json={}).json()["thread_id"]
    body = {
        "assistant_id": "steps",
        "input": {"todo": STEPS, "pause": 0.03},
        "stream_mode": ["values", "updates"],
        "stream_resumable": True,
    }
    run_id = client.post(f"/threads/{thread_id}/runs", json=body).json()["run_id"]
    return f"/threads/{thread_id}/runs/{run_id}/stream"


def whole(client: httpx.Client, path: str) -> list[tuple[str, str, str]]:
    with client.stream("GET", path, headers={"Last-Event-ID": "-"}) as answer:
        return list(events(answer))


@pytest.mark.parametrize("piece", [1, 2, 5])
def test_rejoined_stream(client, piece):
    path = a_run(client)
    last, seen = "-", []
    while not seen or seen[-1][1] != "end":
        with client.stream("GET", path, headers={"Last-Event-ID": last}) as answer:
            got = []
            for event in events(answer):
                got.append(event)
                if len(got) == piece:
                    break
        assert got, "it ended without an end"
        seen += got
        last = seen[-1][0] or last
    assert seen == whole(client, path)
    assert sum(name == "updates" for _, name, _ in seen) == STEPS


def test_rejoined_after_the_end_at_every_event(client):
    path = a_run(client)
    everything = whole(client, path)
    for number, (event_id, _, _) in enumerate(everything):
        if event_id:
            with client.stream("GET", path, headers={"Last-Event-ID": event_id}) as answer:
                assert list(events(answer)) == everything[number + 1 :]
