"""What `deploy/` starts, started: the compose file's commands on a real PostgreSQL, asked by the probes of image and pods."""

import json
import os
import re
import shlex
import signal
import subprocess
import sys
import time
from pathlib import Path

import httpx
import pytest
import yaml

from tests import forkserver
from tests.compose import checked
from tests.postgres_server import PostgresServer
from tests.server import free_port

ROOT = Path(__file__).parents[2]
DOCKERFILE = (ROOT / "deploy" / "Dockerfile").read_text()
APP = ROOT / "examples" / "chat"
SECONDS = 60


def image_env() -> dict[str, str]:
    """What the image sets."""
    line = next(line for line in DOCKERFILE.splitlines() if line.startswith("ENV "))
    return dict(word.split("=", 1) for word in shlex.split(line.removeprefix("ENV ")))


def probe(env: dict[str, str]) -> int:
    """The status that the image's health check ends with."""
    words = json.loads(re.search(r"^HEALTHCHECK .*CMD (\[.*\])$", DOCKERFILE, re.MULTILINE)[1])
    return subprocess.run([sys.executable, *words[1:]], env=env, capture_output=True, check=False).returncode


@pytest.fixture(scope="module")
def services(tmp_path_factory):
    """Name of each service -> its process and its address, once the health check of its image is content."""
    folder = tmp_path_factory.mktemp("deploy")
    password = {"POSTGRES_PASSWORD": "none", "APP": str(APP)}
    described = checked((ROOT / "deploy" / "compose.yaml").read_text(), **password)
    database = PostgresServer().start()
    started = {}
    try:
        for name in ("api", "worker"):
            port = free_port()
            # The ports and the database are this machine's; all else is what compose file and image say.
            own = {"PORT": str(port), "LANGGRAPH_SERVER_HOST": "127.0.0.1", "DATABASE_URI": database.uri}
            env = {**os.environ, **image_env(), **described[name]["environment"], **own, "THREADLOOM_DATA": str(folder)}
            command = [sys.executable, "-m", *described[name]["command"]]
            with (folder / f"{name}.log").open("wb") as log:
                process = forkserver.start(command, cwd=APP, env=env, output=log.fileno())
            started[name] = (process, env, f"http://127.0.0.1:{port}")
        for name, (process, env, _) in started.items():
            deadline = time.monotonic() + SECONDS
            while probe(env):
                assert process.poll() is None, (folder / f"{name}.log").read_text()
                assert time.monotonic() < deadline, (folder / f"{name}.log").read_text()
                time.sleep(0.1)
        yield {name: (process, url) for name, (process, _, url) in started.items()}
    finally:
        for process, _, _ in started.values():
            process.kill()
            process.wait()
        database.stop()


def probes() -> set[str]:
    """The paths that the manifests' probes ask."""
    found = set()
    for name in ("api.yaml", "worker.yaml"):
        for one in yaml.safe_load_all((ROOT / "deploy" / "kubernetes" / name).read_text()):
            for container in one["spec"].get("template", {}).get("spec", {}).get("containers", []):
                found |= {
                    container[kind]["httpGet"]["path"] for kind in ("startupProbe", "readinessProbe", "livenessProbe")
                }
    return found


def test_a_run_that_one_process_takes_another_executes(services):
    with httpx.Client(base_url=services["api"][1], timeout=30) as client:
        thread_id = client.post("/threads", json={}).raise_for_status().json()["thread_id"]
        body = {"assistant_id": "agent", "input": {"messages": [{"role": "user", "content": "hello"}]}}
        answer = client.post(f"/threads/{thread_id}/runs/wait", json=body).raise_for_status().json()
        assert answer["messages"][-1]["content"].startswith('You said "hello"')
        figures = client.get("/metrics", params={"format": "json"}).json()
    assert figures["workers"]["max"] == 0


@pytest.mark.parametrize("name", ["api", "worker"])
def test_every_process_answers_the_probes_and_shows_the_queue(services, name):
    with httpx.Client(base_url=services[name][1], timeout=30) as client:
        assert {client.get(path, headers={"host": "localhost"}).status_code for path in probes()} == {200}
        assert "\nlg_api_queue_n_pending 0.0\n" in client.get("/metrics").text


def test_a_worker_serves_nobody_else(services):
    assert httpx.post(f"{services['worker'][1]}/threads", json={}).status_code == 404


def test_all_end_cleanly_when_they_are_told_to(services):
    for process, _ in services.values():
        process.send_signal(signal.SIGTERM)
    assert [process.wait(SECONDS) for process, _ in services.values()] == [0, 0]
