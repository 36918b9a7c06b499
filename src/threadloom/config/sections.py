"""Reads JSON objects key by key, so that one pass finds every fault and every unknown key."""

import difflib
from collections.abc import Iterable, Sequence
from typing import Any, TypeVar

T = TypeVar("T", bound=str)

KINDS = {
    dict: "an object",
    list: "a list",
    str: "text",
    bool: "true or false",
    int: "a whole number",
    float: "a number",
}


TRUTHS = {"true": True, "false": False}


def kind(value: object) -> str:
    """Returns the type of a JSON value in words."""
    return "null" if value is None else KINDS.get(type(value), type(value).__name__)


def nearest(word: str, known: Iterable[str]) -> str:
    """Returns ` (did you mean "x"?)` if a known word is similar, else ""."""
    found = difflib.get_close_matches(word.lower(), list(known), n=1, cutoff=0.7)
    return f' (did you mean "{found[0]}"?)' if found else ""


class Findings:
    """The result of reading: `faults` are errors that prevent a start, `warnings` are logged and do not."""

    def __init__(self) -> None:
        self.faults: list[str] = []
        self.warnings: list[str] = []

    def fault(self, where: str, why: str) -> None:
        self.faults.append(f"{where}: {why}")

    def warn(self, where: str, why: str) -> None:
        self.warnings.append(f"{where}: {why}")


class Section:
    """One JSON object of the configuration.

    Each reader takes a key and returns its value, or the default if the key is absent or null. A value of another type is
    reported as a fault, and the default is returned. `done` reports the keys that no reader took.

    Args:
        value: the object.
        where: its dotted path in the file, "" for the top.
        findings: collects faults and warnings.
    """

    def __init__(self, value: dict[str, Any], where: str, findings: Findings) -> None:
        self.value = value
        self.where = where
        self.findings = findings
        self._asked: set[str] = set()

    def at(self, key: str) -> str:
        """Returns the dotted path of a key."""
        return f"{self.where}.{key}" if self.where else key

    def fault(self, key: str, why: str) -> None:
        self.findings.fault(self.at(key), why)

    def has(self, key: str) -> bool:
        self._asked.add(key)
        return self.value.get(key) is not None

    def raw(self, key: str) -> Any:
        """Returns the value unchanged, or None."""
        self._asked.add(key)
        return self.value.get(key)

    def _get(self, key: str, types: type | tuple[type, ...], wanted: str) -> Any:
        value = self.raw(key)
        if value is None:
            return None
        if not isinstance(value, types) or (isinstance(value, bool) and types is not bool):
            self.fault(key, f"must be {wanted}, got {kind(value)}")
            return None
        return value

    def text(self, key: str) -> str | None:
        value: str | None = self._get(key, str, "text")
        if value is not None and not value.strip():
            self.fault(key, "must not be empty")
            return None
        return value

    def flag(self, key: str, default: bool = False) -> bool:
        value = self.raw_flag(key)
        if value is not None and not isinstance(value, bool):
            self.fault(key, f"must be true or false, got {kind(value)}")
            return default
        return default if value is None else value

    def raw_flag(self, key: str) -> Any:
        """Returns the value unchanged, except that the texts "true" and "false" become booleans, with a warning: tutorials of
        LangGraph show them as texts.
        """
        value = self.raw(key)
        if isinstance(value, str) and value.strip().lower() in TRUTHS:
            taken = TRUTHS[value.strip().lower()]
            self.findings.warn(
                self.at(key), f"the text {value!r} is taken for {str(taken).lower()}; write it without quotes"
            )
            return taken
        return value

    def integer(self, key: str, *, least: int = 0) -> int | None:
        value: int | None = self._get(key, int, "a whole number")
        if value is not None and value < least:
            self.fault(key, f"must be at least {least}, got {value}")
            return None
        return value

    def number(self, key: str, *, above: float | None = None) -> float | None:
        value: float | None = self._get(key, (int, float), "a number")
        if value is not None and above is not None and value <= above:
            self.fault(key, f"must be more than {above:g}, got {value:g}")
            return None
        return value

    def texts(self, key: str, default: tuple[str, ...] = ()) -> tuple[str, ...]:
        value: list[Any] | None = self._get(key, list, "a list of texts")
        if value is None:
            return default
        if not all(isinstance(item, str) for item in value):
            self.fault(key, "must be a list of texts")
            return default
        return tuple(value)

    def integers(self, key: str) -> tuple[int, ...]:
        value: list[Any] | None = self._get(key, list, "a list of whole numbers")
        if value is None:
            return ()
        if not all(isinstance(item, int) and not isinstance(item, bool) for item in value):
            self.fault(key, "must be a list of whole numbers")
            return ()
        return tuple(value)

    def one_of(self, key: str, words: Sequence[T], default: T) -> T:
        value = self.raw(key)
        if value is None:
            return default
        for word in words:
            if value == word:
                return word
        choices = ", ".join(f'"{word}"' for word in words)
        self.fault(key, f"must be one of {choices}, got {value!r}")
        return default

    def mapping(self, key: str) -> dict[str, Any] | None:
        value: dict[str, Any] | None = self._get(key, dict, "an object")
        return value

    def section(self, key: str) -> "Section | None":
        """Returns the object under a key as a section. None if it is absent, or no object (which is a fault)."""
        value = self.mapping(key)
        return None if value is None else Section(value, self.at(key), self.findings)

    def done(self, known: Iterable[str] = ()) -> None:
        """Warns about the keys that no reader took and that are not in `known`."""
        expected = self._asked | set(known)
        for key in self.value:
            if key not in expected:
                self.findings.warn(self.at(key), f"unknown key, it has no effect{nearest(key, expected)}")
