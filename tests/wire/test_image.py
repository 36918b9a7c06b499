"""An app as an image: the Dockerfile is clean, its steps work, and the server starts from what it leaves."""

import contextlib
import json
import os
import shlex
import stat
import subprocess
import sys
import time
import tomllib
from pathlib import Path

import httpx
import pytest

from tests import forkserver
from tests.compose import checked
from tests.dockerfile import Image, instructions
from tests.server import free_port
from threadloom.cli.image.dockerfile import EXTRAS, THREADLOOM

CHAT = Path(__file__).parents[2] / "examples" / "chat"
GRAPH = (CHAT / "team.py").read_text()
ROUTES = """
from starlette.applications import Starlette
from starlette.responses import PlainTextResponse
from starlette.routing import Route
import helper

app = Starlette(routes=[Route("/hello", lambda request: PlainTextResponse(helper.TEXT))])
"""
BACKEND = """
import base64, hashlib, zipfile
from pathlib import Path

def build_editable(folder, config_settings=None, metadata_directory=None):
    name = "own-1-py3-none-any.whl"
    with zipfile.ZipFile(Path(folder) / name, "w") as wheel:
        wheel.writestr("own.pth", str(Path.cwd() / "src"))
        wheel.writestr("own-1.dist-info/METADATA", "Metadata-Version: 2.1\\nName: own\\nVersion: 1\\n")
        wheel.writestr("own-1.dist-info/WHEEL", "Wheel-Version: 1.0\\nRoot-Is-Purelib: true\\nTag: py3-none-any\\n")
        wheel.writestr("own-1.dist-info/RECORD", "")
    return name
"""
PROJECT = """
[build-system]
requires = []
build-backend = "backend"
backend-path = ["."]
[project]
name = "own"
version = "1"
"""


def command(*words: object, cwd: Path, path: str | None = None) -> subprocess.CompletedProcess[str]:
    env = {**os.environ, **({"PATH": path} if path is not None else {})}
    words = (sys.executable, "-m", "threadloom", *map(str, words))
    return forkserver.run(words, cwd=cwd, env=env, timeout=60)


def lint(file: Path) -> str:
    """What hadolint has to say of a Dockerfile."""
    hadolint = Path(sys.executable).with_name("hadolint")
    return subprocess.run([hadolint, "--no-color", file], capture_output=True, text=True, timeout=60).stdout


@pytest.fixture
def app(tmp_path):
    """Writes an app's files and its configuration, with one graph unless told otherwise."""

    def written(config: dict[str, object], files: dict[str, str] | None = None) -> Path:
        folder = tmp_path / "my app"
        for name, text in {"team.py": GRAPH, **(files or {})}.items():
            (folder / name).parent.mkdir(parents=True, exist_ok=True)
            (folder / name).write_text(text)
        whole = {"dependencies": ["."], "graphs": {"team": "./team.py:agent"}, **config}
        (folder / "langgraph.json").write_text(json.dumps(whole))
        return folder

    return written


def dockerfile(folder: Path, *words: object) -> str:
    """What the command writes, once hadolint has found nothing wrong with it."""
    done = command("dockerfile", "Dockerfile", *words, cwd=folder)
    assert done.returncode == 0, done.stderr
    assert lint(folder / "Dockerfile") == ""
    return (folder / "Dockerfile").read_text()


def refused(folder: Path, *words: object) -> str:
    done = command("dockerfile", "Dockerfile", *words, cwd=folder)
    assert done.returncode == 2, done.stdout
    assert not (folder / "Dockerfile").exists()
    assert "Traceback" not in done.stderr
    return done.stderr


@contextlib.contextmanager
def started(image: Image):
    """The server as the image starts it; gives its address."""
    port = free_port()
    env = image.environment(PORT=str(port), LANGGRAPH_SERVER_HOST="127.0.0.1")
    with (image.root / "log").open("wb") as log:
        process = forkserver.start(image.command, cwd=image.work, env=env, output=log.fileno())
    try:
        deadline = time.monotonic() + 60
        while subprocess.run(image.health, env=env, capture_output=True, check=False).returncode:
            assert process.poll() is None, (image.root / "log").read_text()
            assert time.monotonic() < deadline
            time.sleep(0.1)
        yield f"http://127.0.0.1:{port}"
    finally:
        process.terminate()
        process.wait(30)


def test_what_the_image_starts_serves_the_app(app, tmp_path):
    folder = app(
        {
            "dependencies": [".", "./libs", "../own", "httpx"],
            "graphs": {"team": "./team.py:agent", "packaged": "own.graphs:agent", "it's": {"path": "team.py:agent"}},
            "http": {"app": "./web/routes.py:app", "cors": {"allow_origin_regex": "https://[a-z]+\\.example$"}},
            "store": {"index": {"dims": 1, "embed": "./web/embed.py:embed"}},
            "env": {"GREETING": 'it\'s "$HOME" \\n'},
            "dockerfile_lines": ["ENV BUILT=yes"],
            "pip_config_file": "../pip.conf",
        },
        {
            "web/routes.py": ROUTES,
            "web/embed.py": "def embed(texts): return [[1.0] for _ in texts]",
            "libs/helper.py": "import os\nTEXT = os.environ['GREETING'] + os.environ['BUILT']",
            "libs/requirements.txt": "starlette\n",
            "../own/pyproject.toml": PROJECT,
            "../own/backend.py": BACKEND,
            "../own/src/own/graphs.py": GRAPH,
            "../pip.conf": "[global]\n",
            ".env": "SECRET=1",
            "prod.env": "",
        },
    )
    text = dockerfile(folder)
    assert "docker build -f THIS_FILE -t TAG .." in text
    image = Image(text, tmp_path, tmp_path / "image", ignored="**/.env\n")
    assert image.work == tmp_path / "image" / "deps" / "my-app"
    assert not (tmp_path / "image" / "deps" / "my-app" / ".env").exists()
    (image.work / "langgraph.json").write_text("not read: the variables count")
    with started(image) as url, httpx.Client(base_url=url, timeout=30) as client:
        graphs = {one["graph_id"] for one in client.post("/assistants/search", json={}).json()}
        assert graphs == {"team", "packaged", "it's"}
        assert client.get("/hello").text == 'it\'s "$HOME" \\nyes'
        body = {"input": {"topic": "tea", "messages": [{"role": "user", "content": "tea"}]}}
        for name in ("team", "packaged"):
            client.post("/runs/wait", json={**body, "assistant_id": name}).raise_for_status()
        client.put("/store/items", json={"namespace": ["a"], "key": "k", "value": {"v": "x"}}).raise_for_status()
        found = client.post("/store/items/search", json={"namespace_prefix": ["a"], "query": "y"}).json()["items"]
        assert found[0]["score"] is not None
    assert (tmp_path / "image" / "data" / "threadloom.db").exists()


def test_the_image_is_small_and_safe(app):
    steps = instructions(dockerfile(app({})))
    words = [word for word, _ in steps]
    assert words[0] == "FROM"
    assert steps[0][1] == "python:3.11-slim"
    assert [rest for word, rest in steps if word == "USER"][-1] == "1000"
    assert "HEALTHCHECK" in words
    installs = [rest for word, rest in steps if word == "RUN" and "pip install" in rest]
    assert all("--no-cache-dir" in rest for rest in installs)
    assert any(THREADLOOM in rest for rest in installs)
    assert any("pip uninstall --yes setuptools wheel pip" in rest for _, rest in steps)


def test_the_image_can_do_all_that_can_be_configured():
    extras = tomllib.loads((CHAT.parents[1] / "pyproject.toml").read_text())["project"]["optional-dependencies"]
    assert sorted(extras) == list(EXTRAS)


@pytest.mark.parametrize(
    ("config", "image"),
    [
        ({"python_version": "3.13"}, "python:3.13-slim"),
        ({"image_distro": "bookworm"}, "python:3.11-slim-bookworm"),
        ({"base_image": "reg.example:5000/base"}, "reg.example:5000/base:3.11"),
        ({"base_image": "base", "image_distro": "wolfi", "python_version": "3.12"}, "base:3.12-wolfi"),
        ({"base_image": "base:7"}, "base:7"),
        ({"base_image": "base@sha256:" + "0" * 64}, "base@sha256:" + "0" * 64),
    ],
)
def test_the_base_image(app, config, image):
    assert instructions(dockerfile(app(config)))[0][1] == image


def test_the_base_image_of_the_command_line_wins(app):
    text = dockerfile(app({"base_image": "base:7"}), "--base-image", "base:8")
    assert instructions(text)[0][1] == "base:8"


def test_packages_are_installed_as_they_are_named(app):
    text = dockerfile(app({"dependencies": [".", "langchain-openai>=1", "git+https://example.com/a.git"]}))
    assert "'langchain-openai>=1' git+https://example.com/a.git > /deps/requirements.txt" in text
    assert f"pip install --no-cache-dir '{THREADLOOM}' -r /deps/requirements.txt" in text


def test_tools_may_be_kept_and_uv_may_install(app):
    text = dockerfile(app({"pip_installer": "uv", "keep_pkg_tools": ["pip"]}))
    assert f"uv pip install --system --no-cache --compile-bytecode '{THREADLOOM}'" in text
    assert "pip uninstall --yes uv setuptools wheel\n" in text
    assert "uninstall" not in dockerfile(app({"keep_pkg_tools": True}))


def test_a_uv_project_is_installed_as_its_lock_file_says(app):
    config = {"source": {"kind": "uv", "root": "..", "package": "app"}, "graphs": {"team": "./team.py:agent"}}
    folder = app(config, {"../pyproject.toml": "", "../uv.lock": ""})
    whole = json.loads((folder / "langgraph.json").read_text())
    del whole["dependencies"]
    (folder / "langgraph.json").write_text(json.dumps(whole))
    text = dockerfile(folder)
    target = next(json.loads(rest.partition(" ")[2])[1] for word, rest in instructions(text) if word == "COPY")
    assert f"uv sync --locked --no-dev --inexact --no-cache --compile-bytecode --project {target} --package app" in text
    assert f'LANGSERVE_GRAPHS=\'{{"team": "{target}/my app/team.py:agent"}}\'' in text
    assert instructions(text)[-6][1] == f"{target}/my app"


@pytest.mark.parametrize(
    ("config", "said"),
    [
        ({"node_version": "20"}, "node_version: the image has no Node"),
        ({"image_distro": "wolfi"}, "image_distro: there is no public wolfi image"),
        ({"image_distro": "bullseye"}, 'image_distro: must be one of "debian", "wolfi", "bookworm"'),
        ({"python_version": "3.11.4"}, "python_version: must be a version with two numbers"),
        ({"pip_config_file": "gone.conf"}, "pip_config_file: there is no file"),
        ({"pip_config_file": "../pip.conf"}, "pip_config_file: there is no file"),
        ({"pip_config_file": "a pip.conf"}, "cannot mount a path with spaces"),
        ({"pip_config_file": "team.py", "pip_installer": "uv"}, "pip_config_file: uv does not read"),
        ({"keep_pkg_tools": ["npm"]}, "keep_pkg_tools: may hold"),
        ({"source": {"kind": "uv"}}, "dependencies: cannot stand beside source"),
        ({"graphs": {"a": "../outside.py:g"}}, "graphs.a: ../outside.py is in no folder of dependencies"),
        ({"graphs": {"a": "./gone.py:g"}}, "graphs.a: there is no file"),
        ({"http": {"app": "../x.py:app"}}, "http.app: ../x.py is in no folder of dependencies"),
        ({"env": {"A": "1\n2"}}, "env.A: holds a line break"),
    ],
)
def test_what_no_image_can_do_is_refused_in_plain_words(app, config, said):
    assert said in refused(app(config, {"a pip.conf": ""}))


def test_what_has_no_effect_is_told(app):
    config = {"api_version": "0.7", "disable_persistence": True, "ui": {"team": "./ui.tsx"}}
    done = command("dockerfile", "Dockerfile", cwd=app(config, {"ui.tsx": ""}))
    assert done.returncode == 0
    assert "Warning: api_version: names a release of another server" in done.stderr
    assert "Warning: ui.team: is source code" in done.stderr
    assert "Warning: disable_persistence: has no effect in an image" in done.stderr


def test_options_of_the_reference_that_mean_nothing_here_are_refused(app):
    folder = app({})
    assert "--api-version is not supported" in refused(folder, "--api-version", "0.7")
    done = command("build", "-t", "x", "--install-command", "npm ci", cwd=folder)
    assert (done.returncode, "Python graphs only" in done.stderr) == (2, True)


def test_a_file_of_somebody_elses_is_not_overwritten(app):
    folder = app({}, {"Dockerfile": "FROM scratch\n"})
    done = command("dockerfile", "Dockerfile", cwd=folder)
    assert (done.returncode, (folder / "Dockerfile").read_text()) == (1, "FROM scratch\n")
    assert "was not written by this command" in done.stderr
    assert command("dockerfile", "Dockerfile", "--force", cwd=folder).returncode == 0
    assert command("dockerfile", "Dockerfile", cwd=folder).returncode == 0


def test_an_env_file_stays_out_of_the_image(app):
    text = dockerfile(app({"env": "secret.env"}, {"secret.env": "KEY=very-secret"}))
    assert "very-secret" not in text
    assert "--env-file secret.env" in text


def test_the_compose_file_is_sound(app):
    folder = app({"env": "secret.env"}, {"secret.env": "KEY=1"})
    dockerfile(folder, "--add-docker-compose")
    services = checked((folder / "docker-compose.yml").read_text(), POSTGRES_PASSWORD="secret")
    assert set(services) == {"postgres", "api", "worker"}
    assert services["api"]["command"] == ["threadloom", "serve", "--role", "api"]
    assert services["worker"]["command"] == ["threadloom", "serve", "--role", "worker"]
    assert services["worker"]["build"] == services["api"]["build"] == {"context": ".", "dockerfile": "Dockerfile"}
    assert services["api"]["env_file"] == [".env", "secret.env"]
    assert services["worker"]["ports"] == []
    assert services["api"]["ports"] == ["8123:8000"]
    assert services["api"]["environment"]["DATABASE_URI"] == "postgresql://threadloom:secret@postgres:5432/threadloom"
    assert "POSTGRES_PASSWORD=" in (folder / ".env").read_text()
    assert stat.S_IMODE((folder / ".env").stat().st_mode) == 0o600
    assert "**/secret.env" in (folder / ".dockerignore").read_text().splitlines()


def test_files_that_are_the_users_stay(app):
    folder = app({}, {".env": "MINE=1", ".dockerignore": "mine"})
    dockerfile(folder, "--add-docker-compose")
    assert ((folder / ".env").read_text(), (folder / ".dockerignore").read_text()) == ("MINE=1", "mine")


def test_without_an_engine_build_says_so(app, tmp_path):
    done = command("build", "-t", "x", cwd=app({}), path=str(tmp_path))
    assert done.returncode == 1
    assert "Neither docker nor podman is on the path" in done.stderr
    assert "Traceback" not in done.stderr


@pytest.mark.parametrize("engine", ["docker", "podman"])
def test_build_has_the_engine_build(app, tmp_path, engine):
    (tmp_path / "bin").mkdir()
    script = tmp_path / "bin" / engine
    script.write_text(
        f'#!/bin/sh\nfor word; do echo "$word"; done > {shlex.quote(str(tmp_path / "told"))}\n[ "$DOCKER_BUILDKIT" = 1 ]\n'
    )
    script.chmod(0o755)
    folder = app({})
    path = f"{tmp_path / 'bin'}:/bin:/usr/bin" if engine == "docker" else f"{tmp_path / 'bin'}"
    done = command("build", "-t", "x:1", "--no-pull", "--", "--no-cache", cwd=folder, path=path)
    told = (tmp_path / "told").read_text().splitlines()
    assert done.returncode == 0, done.stderr
    assert f"{engine} run --rm -p 8000:8000 x:1" in done.stdout
    assert told[0] == "build"
    assert told[-2:] == ["--no-cache", str(folder)]
    assert told[told.index("--tag") + 1] == "x:1"
    assert "--pull" not in told
    assert any(word.startswith("--ignorefile=") for word in told) == (engine == "podman")
