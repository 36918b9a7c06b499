"""However long a chain of exceptions is, and however often one was raised: its text is short, and it costs nothing to make."""

import logging
import sys
import time

import pytest

from threadloom.errors import StorageError, separate
from threadloom.log import EXCEPTIONS, FRAMES, TEXT, JsonFormatter, LineFormatter, exception_text


def raised_again_and_again(times: int) -> Exception:
    error = ValueError("once")
    for _ in range(times):
        try:
            raise error
        except ValueError:
            pass
    return error


def chained(times: int) -> Exception:
    error: Exception = raised_again_and_again(1000)
    for number in range(times):
        following = KeyError(number)
        following.__context__ = error
        error = following
    return error


def nested(times: int) -> Exception:
    error: Exception = ValueError("x" * 100_000)
    for _ in range(times):
        error = ExceptionGroup("several", [error] * 20)
    return error


@pytest.mark.parametrize("error", [raised_again_and_again(5000), chained(2000), nested(20)])
@pytest.mark.parametrize("formatter", [JsonFormatter(), LineFormatter(color=False)])
def test_bounded(error: Exception, formatter: logging.Formatter) -> None:
    record = logging.LogRecord("x", logging.ERROR, "", 0, "failed", (), (type(error), error, error.__traceback__))
    began = time.process_time()
    line = formatter.format(record)
    assert time.process_time() - began < 0.5
    assert len(line) < 2 * TEXT * EXCEPTIONS + 200 * FRAMES


def test_shows_what_python_shows() -> None:
    try:
        try:
            raise ValueError("inner")
        except ValueError as inner:
            raise StorageError("outer") from inner
    except StorageError as outer:
        text = exception_text(outer)
    assert text.index("ValueError: inner") < text.index("direct cause") < text.index("StorageError: outer")
    assert text.count("Traceback (most recent call last)") == 2
    assert "test_log_tracebacks.py" in text


def test_an_exception_whose_text_raises_is_named_all_the_same() -> None:
    class Silent(Exception):
        def __str__(self) -> str:
            sys.exit("no")

    assert "Silent" in exception_text(Silent())


def test_each_waiter_gets_an_exception_of_its_own() -> None:
    failure = StorageError("full")
    failure.detail = 1  # type: ignore[attr-defined]  # what an exception carries goes along
    first, second = separate(failure), separate(failure)
    assert first is not second
    assert (str(first), first.__cause__, first.__traceback__) == ("full", failure, None)
    assert vars(first) == {"detail": 1}
    assert isinstance(first, StorageError)
