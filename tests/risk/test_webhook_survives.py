"""What a webhook is to be told of a run that ended survives kill -9 and is told after the restart, under the same id."""

import time
from pathlib import Path

import httpx

from tests.receiver import receiving
from tests.server import Server, free_port

APP = Path(__file__).parents[1] / "apps" / "hooks"


def test_a_delivery_that_was_due_is_made_after_the_restart(tmp_path: Path) -> None:
    server = Server(APP, tmp_path / "data").start()
    port = free_port()
    try:
        bodies = {"assistant_id": "counter", "input": {"n": 1}, "webhook": f"http://127.0.0.1:{port}/hook"}
        ended = [httpx.post(f"{server.url}/runs/wait", json=bodies).raise_for_status().json() for _ in range(3)]
        assert ended == [{"n": 2}] * 3
        before = httpx.get(f"{server.url}/webhooks/deliveries").json()
        server.kill()
        assert [one["status"] for one in before] == ["pending"] * 3
        with receiving(port=port) as receiver:
            server.start()
            told = receiver.wait(3)
            assert {headers["webhook-id"] for _, headers, _ in told} == {one["delivery_id"] for one in before}
            deadline = time.monotonic() + 120
            while {one["status"] for one in httpx.get(f"{server.url}/webhooks/deliveries").json()} != {"delivered"}:
                assert time.monotonic() < deadline
                time.sleep(0.05)
            assert len(receiver.received) == 3
    finally:
        server.kill()


def test_a_server_killed_in_the_middle_of_a_try_tells_again(tmp_path: Path) -> None:
    """The receiver took it, but nobody wrote that down: it comes again, and is known by its id."""
    server = Server(APP, tmp_path / "data").start()
    try:
        with receiving(200) as receiver:
            slow = receiver.server.finish_request

            def finish(*given):
                slow(*given)
                if len(receiver.received) == 1:
                    server.kill()

            receiver.server.finish_request = finish
            body = {"assistant_id": "counter", "input": {"n": 1}, "webhook": receiver.url}
            httpx.post(f"{server.url}/runs", json=body).raise_for_status()
            receiver.wait(1)
            assert server.process is not None
            server.process.wait(120)
            server.start()
            deadline = time.monotonic() + 120
            while (
                not (found := httpx.get(f"{server.url}/webhooks/deliveries").json()) or found[0]["status"] == "pending"
            ):
                assert time.monotonic() < deadline
                time.sleep(0.05)
            assert found[0]["status"] == "delivered"
            assert {headers["webhook-id"] for _, headers, _ in receiver.received} == {found[0]["delivery_id"]}
            assert len(receiver.received) in (1, 2)
    finally:
        server.kill()
