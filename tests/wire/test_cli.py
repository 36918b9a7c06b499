"""The command line as a user meets it: real processes, exit statuses and what they print."""

import json
import os
import signal
import socket
import subprocess
import sys
import threading
import time
from pathlib import Path

import httpx
import pytest

import threadloom
from tests import forkserver
from tests.server import Server, free_port, running
from threadloom.config import load
from threadloom.errors import ConfigError
from threadloom.wiring import Server as Application

CHAT = Path(__file__).parents[2] / "examples" / "chat"
GRAPH = "g = StateGraph(dict)\ng.add_node('n', lambda state: state)\ng.add_edge(START, 'n')\ng = g.compile()"
HELLO = {"assistant_id": "agent", "input": {"messages": [{"role": "user", "content": "hello"}]}}


def threadloom_command(*words: object, cwd: Path | None = None, env: dict[str, str] | None = None):
    """Runs `threadloom …` to its end: status, standard output, standard error."""
    words = [sys.executable, "-m", "threadloom", *map(str, words)]
    done = forkserver.run(words, cwd=cwd, env={**os.environ, **(env or {})}, timeout=60)
    return done.returncode, done.stdout, done.stderr


@pytest.fixture
def app(tmp_path):
    """A folder with a configuration: `app({"graphs": …}, {"a.py": code})`."""

    def made(config: dict[str, object], files: dict[str, str] | None = None) -> Path:
        for name, text in (files or {}).items():
            file = tmp_path / name
            file.parent.mkdir(parents=True, exist_ok=True)
            file.write_text(text)
        (tmp_path / "langgraph.json").write_text(json.dumps({"dependencies": ["."], **config}))
        return tmp_path

    return made


def a_thread(http: httpx.Client) -> str:
    thread_id = http.post("/threads", json={}).json()["thread_id"]
    http.post(f"/threads/{thread_id}/runs/wait", json=HELLO).raise_for_status()
    return thread_id


# --- help ---


@pytest.mark.parametrize("verb", [["dev"], ["threads", "copy"]])
def test_help_ends_with_an_example(verb):
    status, out, _ = threadloom_command(*verb, "--help")
    assert status == 0
    assert f"example:\n  threadloom {' '.join(verb)}" in out


def test_the_version_is_said():
    assert threadloom_command("--version") == (0, f"threadloom {threadloom.__version__}\n", "")


def test_a_wrong_command_is_2():
    assert threadloom_command("devv")[0] == 2
    assert threadloom_command("dev", "--jobs", "-1")[0] == 2
    assert threadloom_command("dev", "--port", "70000")[0] == 2


# --- dev: what stops it from starting ---


@pytest.mark.parametrize(
    ("words", "hint"),
    [
        (("thread", "list"), "Did you mean threads?"),
        (("threads", "lst"), "Did you mean list?"),
        (("threads", "list", "--status", "ide"), "Did you mean idle?"),
        (("dev", "--prot", "3"), "--prot 3. Did you mean --port?"),
        (("threads", "list", "--limt=3"), "Did you mean --limit?"),
    ],
)
def test_a_wrong_word_gets_the_nearest_right_one(words, hint):
    status, _, told = threadloom_command(*words)
    assert status == 2
    assert hint in told


def test_without_a_command_it_says_what_to_do_first(tmp_path):
    status, told, _ = threadloom_command(cwd=tmp_path)
    assert status == 0
    assert "threadloom init my-app" in told
    assert "no langgraph.json" in told
    assert "This folder has a langgraph.json" in threadloom_command(cwd=CHAT)[1]


@pytest.mark.parametrize("shell", ["bash", "zsh", "fish"])
def test_commands_and_options_are_completed(shell):
    status, script, _ = threadloom_command("completion", shell)
    assert status == 0
    assert "_ARGCOMPLETE" in script
    if shell == "bash":
        line = "threadloom threads co"
        words = f'COMP_LINE="{line}" COMP_POINT={len(line)} COMP_TYPE=9'
        asked = f'{script}\n{words}\n_python_argcomplete threadloom\necho "${{COMPREPLY[@]}}"'
        path = f"{Path(sys.executable).parent}:{os.environ['PATH']}"
        done = subprocess.run(
            ["bash", "-c", asked], capture_output=True, text=True, check=False, env={**os.environ, "PATH": path}
        )
        assert sorted(done.stdout.split()) == ["compare", "copy"], done.stderr


def test_a_taken_port_is_said_plainly_with_1(tmp_path):
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        taken.listen()
        port = taken.getsockname()[1]
        status, _, err = threadloom_command("dev", "--port", port, "--data", tmp_path / "data", cwd=CHAT)
    assert status == 1
    assert f"Port {port} on 127.0.0.1 is in use by another program." in err
    assert "Traceback" not in err


def test_a_data_folder_in_use_is_said_plainly_with_1(tmp_path):
    with running(CHAT, tmp_path / "data"):
        status, _, err = threadloom_command("dev", "--port", free_port(), "--data", tmp_path / "data", cwd=CHAT)
    assert status == 1
    assert f"The data folder {tmp_path / 'data'} is in use by another process" in err
    assert "Traceback" not in err


def test_a_bad_configuration_is_2_with_file_key_and_cause(app):
    folder = app({"graphs": {"agent": "./agent.py"}, "http": {"mount_prefix": "api"}})
    status, out, err = threadloom_command("dev", "--port", free_port(), cwd=folder)
    assert (status, out) == (2, "")
    assert str(folder / "langgraph.json") in err
    assert "graphs.agent" in err
    assert "http.mount_prefix" in err
    assert "Traceback" not in err


def test_a_missing_configuration_is_2(tmp_path):
    status, _, err = threadloom_command("dev", cwd=tmp_path)
    assert status == 2
    assert "threadloom init" in err


def test_broken_graphs_are_2_all_at_once(app):
    folder = app(
        {"graphs": {"one": "./a.py:g", "two": "./b.py:g"}}, {"a.py": "1 / 0", "b.py": "import nothing_of_that_name"}
    )
    status, _, err = threadloom_command("dev", "--port", free_port(), cwd=folder)
    assert status == 2
    assert "Failed to load graph 'one' from ./a.py" in err
    assert "ZeroDivisionError" in err
    assert "Failed to load graph 'two' from ./b.py" in err
    assert not (folder / ".threadloom" / "threadloom.db").exists()


@pytest.mark.parametrize("key", ["auth", "encryption"])
def test_no_server_without_the_protection_that_was_asked_for(app, key):
    code = (CHAT / "team.py").read_text()
    folder = app({"graphs": {"team": "./team.py:agent"}, key: {"path": "./team.py:x"}}, {"team.py": code})
    status, _, err = threadloom_command("dev", "--port", free_port(), cwd=folder)
    assert status == 2
    assert f"{key}.path" in err


def test_a_folder_that_cannot_be_written_is_1(tmp_path):
    (tmp_path / "file").write_text("")
    status, _, err = threadloom_command("dev", "--port", free_port(), "--data", tmp_path / "file", cwd=CHAT)
    assert status == 1
    assert str(tmp_path / "file") in err


# --- dev: serving and ending ---


def test_the_start_says_where_and_what_is_served(tmp_path):
    with running(CHAT, tmp_path / "data") as server:
        log = server.log()
    assert f"API      {server.url}" in log
    assert f"{server.url}/docs" in log
    assert "agent, tools, review, team" in log
    assert str(tmp_path / "data") in log
    assert "Ready." in log


def test_warnings_are_told_at_start(app, tmp_path):
    code = (CHAT / "team.py").read_text()
    folder = app({"graphs": {"team": "./team.py:agent"}, "htp": {}}, {"team.py": code})
    with running(folder, tmp_path / "data") as server:
        log = server.log()
    assert 'htp: unknown key, it has no effect (did you mean \\"http\\"?)' in log


def test_it_says_that_it_reloads(tmp_path):
    with running(CHAT, tmp_path / "data", reload=True) as server:
        assert server.stop() == 0
    assert server.log().count("Reload   on, changed code serves at once") == 1


@pytest.mark.parametrize("how", [signal.SIGINT, signal.SIGTERM])
def test_it_ends_cleanly_within_seconds_though_a_stream_is_open(app, tmp_path, how):
    slow = """
import asyncio
from langgraph.graph import START, StateGraph
from typing_extensions import TypedDict
class State(TypedDict, total=False):
    n: int
async def nap(state):
    await asyncio.sleep(300)
    return {"n": 1}
graph = StateGraph(State).add_node("nap", nap).add_edge(START, "nap").compile()
"""
    server = Server(app({"graphs": {"slow": "./slow.py:graph"}}, {"slow.py": slow}), tmp_path / "data").start()
    opened = threading.Event()

    def read() -> None:
        with httpx.Client(timeout=60) as client:
            thread_id = client.post(f"{server.url}/threads", json={}).json()["thread_id"]
            body = {"assistant_id": "slow", "input": {}}
            with client.stream("POST", f"{server.url}/threads/{thread_id}/runs/stream", json=body) as answer:
                for _ in answer.iter_lines():
                    opened.set()

    def read_until_cut_off() -> None:
        with pytest.raises(httpx.TransportError):
            read()

    reader = threading.Thread(target=read_until_cut_off, daemon=True)
    reader.start()
    assert opened.wait(30)
    began = time.monotonic()
    server.process.send_signal(how)
    status = server.process.wait(120)
    assert time.monotonic() - began < 60  # the stream would last for 300
    assert status == 0, server.log()
    assert "Traceback" not in server.log()


def test_jobs_has_the_name_of_the_reference_as_an_alias(tmp_path):
    with running(CHAT, tmp_path / "data", arguments=("--n-jobs-per-worker", "3")) as server:
        assert "langgraph" in httpx.get(f"{server.url}/info").text
        assert httpx.post(f"{server.url}/runs/wait", json=HELLO, timeout=30).status_code == 200


def test_without_persistence_nothing_is_left(app, tmp_path):
    code = (CHAT / "team.py").read_text()
    folder = app({"graphs": {"team": "./team.py:agent"}, "disable_persistence": True}, {"team.py": code})
    server = Server(folder, None, log=tmp_path / "log").start()
    data = next(line.split()[-1] for line in server.log().splitlines() if "Data" in line)
    assert Path(data).exists()
    server.stop()
    assert not Path(data).exists()
    assert not (folder / ".threadloom").exists()


# --- validate and init ---


def test_validate_counts_graphs_and_warns(app):
    folder = app({"graphs": {"a": "./a.py:g", "b": "./b.py:g"}, "htp": 1}, {"a.py": "raise SystemExit", "b.py": ""})
    status, out, _ = threadloom_command("validate", cwd=folder)
    assert status == 0
    assert out.splitlines() == [
        'Warning: htp: unknown key, it has no effect (did you mean "http"?)',
        f"Configuration file {folder / 'langgraph.json'} is valid. (2 graphs found)",
    ]


def test_validate_load_tells_every_piece_of_code_that_fails(app):
    index = {"index": {"dims": 3, "embed": "./a.py:embeds"}}
    config = {"graphs": {"a": "./a.py:g"}, "http": {"app": "./gone.py:app"}, "store": {**index, "path": "./a.py:store"}}
    config["auth"] = {"path": "./a.py:x"}
    folder = app(config, {"a.py": "x = 1"})
    status, _, err = threadloom_command("validate", cwd=folder)
    assert status == 2
    assert f"http.app: there is no file {folder / 'gone.py'}" in err
    assert "a.py" not in err
    status, _, err = threadloom_command("validate", "--load", cwd=folder)
    assert status == 2
    assert "Failed to load graph 'a'" in err
    assert "http.app" in err
    assert "store.index.embed" in err
    assert "store.path" in err
    assert "auth.path" in err
    assert "Traceback" not in err


def test_validate_goes_on_after_a_fault_and_without_the_env_file(app):
    config = {"graphs": {"a": "./gone.py:g"}, "env": "./.env", "http": {"disable_mcp": "no"}}
    folder = app(config, {".env.example": "A=1"})
    copying = f"cp {folder / '.env.example'} {folder / '.env'}"
    for words in ((), ("--load",)):
        status, out, err = threadloom_command("validate", *words, cwd=folder)
        assert status == 2
        assert copying in out
        assert "http.disable_mcp: must be true or false, got text" in err
        assert f"there is no file {folder / 'gone.py'}" in err
    status, _, err = threadloom_command("serve", cwd=folder)
    assert status == 2
    assert copying in err


def test_dev_starts_without_the_env_file_and_says_so(app, tmp_path):
    folder = app(
        {"graphs": {"a": "./a.py:g"}, "env": "./.env"},
        {"a.py": "from langgraph.graph import START, StateGraph\n" + GRAPH},
    )
    with running(folder, tmp_path / "data") as server:
        assert httpx.get(f"{server.url}/ok").json()["ok"]
        assert f"there is no file {folder / '.env'}, so its variables are not set" in server.log()


def test_a_module_that_is_not_there_comes_with_what_installs_it(app):
    files = {"a.py": "import our_tools", "src/our_tools/__init__.py": "", "pyproject.toml": "[project]"}
    folder = app({"graphs": {"a": "./a.py:g"}, "dependencies": ["."]}, files)
    _, _, err = threadloom_command("validate", "--load", cwd=folder)
    assert "No module named 'our_tools'" in err
    assert "It is in src. Install that project: pip install -e ." in err


POSTGRES = {"DATABASE_URI": "postgresql://nobody@127.0.0.1:1/none"}
MISSING = {
    "PostgreSQL": ("asyncpg", ["serve"], POSTGRES, "PostgreSQL", "threadloom[postgres]"),
    "Redis": ("redis", ["serve"], {**POSTGRES, "REDIS_URI": "redis://127.0.0.1:1"}, "REDIS_URI", "threadloom[redis]"),
    "a key": ("cryptography", ["dev"], {"LANGGRAPH_AES_KEY": "k" * 16}, "LANGGRAPH_AES_KEY", "threadloom[encryption]"),
    "import": ("asyncpg", ["import", "--from-postgres", "x"], {}, "--from-postgres", "threadloom[postgres]"),
}


@pytest.mark.parametrize(("package", "words", "env", "wanted", "install"), MISSING.values(), ids=MISSING)
def test_a_package_that_is_not_installed_is_told_in_one_way(tmp_path, package, words, env, wanted, install):
    code = f"import sys; sys.modules[{package!r}] = None; from threadloom.cli import main; sys.exit(main({words!r}))"
    config = {"dependencies": ["."], "graphs": {"a": "./a.py:g"}}
    (tmp_path / "langgraph.json").write_text(json.dumps(config))
    (tmp_path / "a.py").write_text("from langgraph.graph import START, StateGraph\n" + GRAPH)
    done = subprocess.run(
        [sys.executable, "-c", code],
        cwd=tmp_path,
        env={**os.environ, **env},
        capture_output=True,
        text=True,
        timeout=60,
    )
    assert done.returncode == 2, done.stderr
    said = f"Error: {wanted} needs the package {package}, which is not installed: pip install '{install}'\n"
    assert said in done.stderr
    assert "Traceback" not in done.stderr


AUTH_FAULTS = {
    "no Auth": ("auth = 7", "./auth.py:auth must be a langgraph_sdk.Auth object, got int"),
    "gone": ("", "Failed to load ./auth.py:auth: there is no 'auth'"),
    "no handler": ("from langgraph_sdk import Auth\nauth = Auth()", "it has no @auth.authenticate handler"),
    "parameters": (
        "from langgraph_sdk import Auth\nauth = Auth()\n@auth.authenticate\nasync def who(token, path): ...",
        "asks for token; it may ask by name for authorization, body, headers",
    ),
}


@pytest.mark.parametrize(("code", "fault"), AUTH_FAULTS.values(), ids=AUTH_FAULTS)
def test_neither_check_nor_server_takes_auth_that_cannot_be(app, code, fault):
    files = {"auth.py": code, "a.py": "from langgraph.graph import START, StateGraph\n" + GRAPH}
    folder = app({"graphs": {"a": "./a.py:g"}, "auth": {"path": "./auth.py:auth"}}, files)
    status, _, err = threadloom_command("validate", "--load", cwd=folder)
    assert status == 2, err
    assert f"{folder / 'langgraph.json'}: auth.path: " in err
    assert fault in err
    assert "Traceback" not in err
    with pytest.raises(ConfigError, match=r"langgraph\.json: auth\.path: "):
        Application(load(folder / "langgraph.json", {}))


def test_init_makes_an_app_that_runs_without_a_key(tmp_path):
    status, out, _ = threadloom_command("init", "my-app", cwd=tmp_path)
    assert status == 0
    assert "threadloom dev" in out
    assert threadloom_command("validate", "--load", cwd=tmp_path / "my-app")[0] == 0
    with running(tmp_path / "my-app", tmp_path / "data") as server:
        answer = httpx.post(f"{server.url}/runs/wait", json=HELLO, timeout=30).json()
    assert answer["messages"][-1]["content"] == "You said: hello"


def test_init_overwrites_nothing(tmp_path):
    (tmp_path / "agent.py").write_text("mine")
    status, _, err = threadloom_command("init", cwd=tmp_path)
    assert status == 1
    assert "agent.py" in err
    assert [file.name for file in tmp_path.iterdir()] == ["agent.py"]


# --- threads ---
