"""Reading what the block `threadloom` says of origins and of auth."""

import json

import pytest

from threadloom.config import load
from threadloom.errors import ConfigError


@pytest.fixture
def read_own(tmp_path):
    """The configuration with this block `threadloom`."""

    def read(**own):
        file = tmp_path / "langgraph.json"
        file.write_text(json.dumps({"graphs": {"a": "./a.py:g"}, "dependencies": ["."], "threadloom": own}))
        return load(file, {})

    return read


@pytest.mark.parametrize(
    ("origin", "read"),
    [
        ("https://App.Example:8443/", "https://app.example:8443"),
        ("*", "*"),
        ("null", "null"),
        ("chrome-extension://abc", "chrome-extension://abc"),
        ("http://[fd00::1]:80", "http://[fd00::1]:80"),
    ],
)
def test_allowed_origins_are_read(read_own, origin, read):
    assert read_own(allowed_origins=[origin]).threadloom.allowed_origins == (read,)


@pytest.mark.parametrize("origin", ["app.example", "https://*.example", "https://a.example/x", "https://", "", "a b"])
def test_what_is_no_origin_is_a_fault(read_own, origin):
    with pytest.raises(ConfigError, match=r"threadloom\.allowed_origins"):
        read_own(allowed_origins=[origin])


def test_who_is_asked_about_threads_is_told_to_have_no_effect_without_auth(read_own):
    settings = read_own(auth={"implicit_threads": "run"})
    assert settings.warnings == ("threadloom.auth: has no effect without auth",)
