"""The whole users of runs: what one process knows of them comes to another that executes the run, and to nobody else."""

import asyncio
import datetime
import threading
from typing import Any

import pytest

from threadloom.auth import run_users
from threadloom.auth.run_users import RunUsers
from threadloom.auth.user import User, user_of
from threadloom.broker.local import LocalBroker
from threadloom.encryption.envelope import EnvelopeError, Recipient, seal
from threadloom.services.permission import identity_of
from threadloom.types import USER_AT, Caller, Run

pytestmark = pytest.mark.anyio


class Post(LocalBroker):
    """The brokers of some processes, which hand letters to each other; `seen` is all that went between them."""

    def __init__(self, process: str, others: "dict[str, Post]", seen: list[bytes]) -> None:
        super().__init__()
        self.process = process
        self._others = others
        self._seen = seen
        self._readers: list[Any] = []
        others[process] = self

    def send(self, process: str, message: bytes) -> None:
        self._seen.append(message)
        other = self._others.get(process)
        if other is not None:
            other.at_home(other._read, self.process, message)

    def _read(self, sender: str, message: bytes) -> None:
        for read in self._readers:
            read(sender, message)

    def on_message(self, listener: Any) -> None:
        self._readers.append(listener)


class Processes:
    """An API process and a worker."""

    def __init__(self) -> None:
        self.seen: list[bytes] = []
        self.posts: dict[str, Post] = {}

    async def open(self, name: str) -> RunUsers:
        post = Post(name, self.posts, self.seen)
        await post.open()
        return RunUsers(post)


def run_of(user: Any) -> Run:
    """A run as it is stored and claimed by another process."""
    configurable = {"graph_id": "g", **identity_of(Caller(user=user))}
    return Run(
        run_id="r",
        thread_id="t",
        assistant_id="a",
        status="pending",
        created_at=0,
        updated_at=0,
        metadata={},
        kwargs={"config": {"configurable": configurable}},
        multitask_strategy="enqueue",
        due=0,
    )


def seen_of(users: RunUsers, run: Run) -> Any:
    return users.of(run.run_id, run.kwargs["config"]["configurable"]["langgraph_auth_user"])


async def told_of(processes: Processes, returned: Any) -> tuple[RunUsers, RunUsers, User, Run]:
    """Two processes, and a run of which one took the request; `returned` is what the handler gave of its user."""
    api, worker = await processes.open("api"), await processes.open("worker")
    user = user_of(returned)
    run = run_of(user)
    api.remember(run, user)
    return api, worker, user, run


MAPPING = {
    "identity": "ann",
    "permissions": ["p"],
    "email": "ann@example.com",
    "token": "s3cr3t",
    "deep": {"a": [1, None]},
}


async def test_a_mapping_comes_whole() -> None:
    processes = Processes()
    _, worker, user, run = await told_of(processes, MAPPING)
    await worker.fetch(run)
    seen = seen_of(worker, run)
    assert dict(seen) == dict(user)
    assert (seen.email, seen["token"], seen.permissions) == ("ann@example.com", "s3cr3t", ["p"])
    assert not any(b"s3cr3t" in message or b"example.com" in message for message in processes.seen)


class Account:
    """A user as a class of its own."""

    kind = "account"

    def __init__(self) -> None:
        self.identity = "ann"
        self.team = "blue"
        self.since = datetime.date(2024, 1, 1)
        self._password = "s3cr3t"

    @property
    def shout(self) -> str:
        return self.team.upper()

    @property
    def broken(self) -> str:
        raise RuntimeError

    def greet(self) -> str:
        return "hi"


async def test_an_object_comes_with_what_it_holds() -> None:
    processes = Processes()
    _, worker, user, run = await told_of(processes, Account())
    await worker.fetch(run)
    seen = seen_of(worker, run)
    assert (seen.identity, seen.team, seen.shout, seen["team"]) == ("ann", "blue", "BLUE", "blue")
    assert dict(seen) == dict(user)
    # What JSON cannot tell, what fails, what is nobody's business, and what only code can do, stays.
    assert not any(hasattr(seen, name) for name in ("since", "broken", "_password", "greet"))


@pytest.mark.parametrize("returned", ["ann", {"identity": "ann", "permissions": ["p"]}], ids=["text", "mapping"])
async def test_nobody_is_asked_for_what_is_stored_anyway(returned: Any) -> None:
    processes = Processes()
    _, worker, user, run = await told_of(processes, returned)
    await worker.fetch(run)
    worker.release(run, over=True)
    assert processes.seen == []
    assert seen_of(worker, run) == User("ann", permissions=user.permissions)


async def test_a_process_that_is_gone_is_not_waited_for_long(monkeypatch) -> None:
    monkeypatch.setattr(run_users, "PATIENCE_SECONDS", 0.2)
    monkeypatch.setattr(run_users, "AGAIN_SECONDS", 0.02)
    processes = Processes()
    _, worker, _, run = await told_of(processes, MAPPING)
    del processes.posts["api"]
    await worker.fetch(run)
    assert dict(seen_of(worker, run)) == dict(User("ann", permissions=["p"]))
    assert len(processes.seen) > 1, "it is asked again, for letters may be lost"


async def test_who_forgot_says_so_at_once() -> None:
    processes = Processes()
    await processes.open("api")
    worker = await processes.open("worker")
    run = run_of(user_of(MAPPING))
    run.kwargs[USER_AT] = "api"
    async with asyncio.timeout(run_users.PATIENCE_SECONDS / 2):
        await worker.fetch(run)
    assert dict(seen_of(worker, run)) == dict(User("ann", permissions=["p"]))


async def test_both_forget_once_the_run_is_over() -> None:
    processes = Processes()
    api, worker, user, run = await told_of(processes, MAPPING)
    await worker.fetch(run)
    worker.release(run, over=False)
    assert worker.of("r", None) is None
    assert api.of("r", None) is user, "it may be tried once more"
    await worker.fetch(run)
    worker.release(run, over=True)
    assert (api.of("r", None), worker.of("r", None)) == (None, None)


async def test_runs_with_event_loops_of_their_own_ask_too() -> None:
    processes = Processes()
    _, worker, _, run = await told_of(processes, MAPPING)
    thread = threading.Thread(target=lambda: asyncio.run(worker.fetch(run)))
    thread.start()
    await asyncio.to_thread(thread.join)
    assert seen_of(worker, run).email == "ann@example.com"


async def test_words_of_another_release_are_passed_over() -> None:
    processes = Processes()
    _, worker, _, run = await told_of(processes, MAPPING)
    for message in (
        b"",
        b"\x93\xa5whois\xa1r\xc4\x00",
        b"\x93\xa3ask\xa1r\xc4\x02no",
        b"\x93\xa6answer\xa1r\xc4\x02no",
    ):
        processes.posts["worker"].send("api", message)
    await worker.fetch(run)
    assert seen_of(worker, run).email == "ann@example.com"


async def test_clients_are_not_shown_where_the_user_is_known() -> None:
    processes = Processes()
    api = await processes.open("api")
    user = user_of(MAPPING)
    run = run_of(user)
    api.remember(run, user)
    assert run.kwargs[USER_AT] == "api"
    assert USER_AT not in run.shown_kwargs


def test_an_envelope_is_for_one_alone() -> None:
    one, other = Recipient(), Recipient()
    envelope = seal(one.public, b"content", b"about")
    assert b"content" not in envelope
    assert one.open(envelope, b"about") == b"content"
    changed = envelope[:-1] + bytes([envelope[-1] ^ 1])
    for who, what, about in (
        (other, envelope, b"about"),
        (one, envelope, b"else"),
        (one, changed, b"about"),
        (one, b"", b""),
    ):
        with pytest.raises(EnvelopeError):
            who.open(what, about)
    for key in (b"short", bytes(32)):
        with pytest.raises(EnvelopeError):
            seal(key, b"content", b"about")
