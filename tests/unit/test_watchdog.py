"""What a standstill of the event loop is put down to: a line of the app, the server's own work, or the machine."""

import asyncio
import sys
import time
from pathlib import Path

import pytest

from threadloom.engine import watchdog
from threadloom.engine.watchdog import LoopStall, Watchdog
from threadloom.graphs import process

CASES = {
    "no processor": (
        LoopStall(4, 0, 0.1, 0.2, 3.5),
        True,
        "the machine is busy: the event loop stood still for 4.0 s",
    ),
    "the process was stopped": (LoopStall(4, 3.8, 0.0, 0.0, 0.0), True, "the machine is busy"),
    "nothing moved": (LoopStall(4, 0, 0.0, 0.1, 0.0), False, "the machine is busy"),
    "nothing can be measured": (LoopStall(4, 0, None, 0.1, None), False, "the machine is busy"),
    "the loop worked": (LoopStall(4, 0, 3.9, 3.9, 0.1), False, "busy with the server's own work"),
    "it held the interpreter": (LoopStall(4, 3.5, 3.9, 3.9, 0.0), False, "busy with the server's own work"),
    "another thread worked": (LoopStall(4, 0, 0.1, 3.9, 0.0), False, "another thread of this process"),
}


@pytest.mark.parametrize(("measured", "busy", "said"), CASES.values(), ids=CASES)
def test_a_standstill_is_explained_by_what_was_measured(measured, busy, said):
    assert measured.machine_is_busy is busy
    assert said in measured.explain()


@pytest.fixture
def messages(caplog, monkeypatch):
    """What the watchdog logs. This file counts as a file of the app."""
    monkeypatch.setattr(watchdog, "REPEAT_SECONDS", 0.0)
    monkeypatch.setattr(LoopStall, "machine_is_busy", property(lambda self: False))  # whatever else this machine does
    return lambda: [record.getMessage() for record in caplog.records if record.name == "threadloom.watchdog"]


async def stand(watched: Watchdog, block, times: int = 1) -> None:
    watched.start()
    for _ in range(times):
        await asyncio.sleep(0.05)
        block()
    await asyncio.sleep(0.05)
    watched.stop()


def test_a_line_of_the_app_is_told_once(messages):
    asyncio.run(stand(Watchdog(0.1), lambda: time.sleep(0.5), times=3))
    [message] = messages()
    assert message.startswith(f"<lambda> in {__file__}:")
    assert "has blocked the server for" in message


def test_a_line_that_is_not_of_the_app_is_never_blamed(messages, monkeypatch):
    monkeypatch.setattr(process, "LIBRARIES", (*process.LIBRARIES, Path(__file__).parent.name))
    asyncio.run(stand(Watchdog(0.1), lambda: time.sleep(0.5)))
    assert messages()
    for message in messages():
        assert __file__ not in message
        assert "has blocked" not in message
        assert sys.prefix not in message


def test_nothing_is_told_before_the_start_nor_while_paused(messages):
    block = time.sleep

    async def reload() -> None:
        watched = Watchdog(0.1)
        block(0.5)
        watched.start()
        with watched.paused():
            await asyncio.sleep(0.05)
            block(0.5)
            await asyncio.sleep(0.05)
        await asyncio.sleep(0.05)
        watched.stop()

    asyncio.run(reload())
    assert messages() == []
