"""Options of `threadloom dev` and words of the reference's command line: each works, or is refused in plain words."""

import contextlib
import re
import signal
import socket
import ssl
import sys
import time
from pathlib import Path

import httpx
import pytest
import trustme

from tests import forkserver
from tests.server import free_port
from threadloom.cli.dev import PORT, PORTS_TRIED

CHAT = Path(__file__).parents[2] / "examples" / "chat"


@contextlib.contextmanager
def dev(data: Path, *words: object, until: str = "Ready."):
    """`threadloom dev` with just these options, until it has said something; gives the process and what it said."""
    command = [sys.executable, "-m", "threadloom", "dev", "--no-reload", "--data", str(data), *map(str, words)]
    log = data.with_suffix(".log")
    with log.open("wb") as file:
        process = forkserver.start(command, cwd=CHAT, output=file.fileno())
    try:
        while until not in log.read_text():
            assert process.poll() is None, f"it ended:\n{log.read_text()}"
            time.sleep(0.05)
        yield process, log.read_text()
    finally:
        process.send_signal(signal.SIGINT)
        process.wait(60)


def refused(*words: object, status: int = 2) -> str:
    done = forkserver.run([sys.executable, "-m", "threadloom", *map(str, words)], cwd=CHAT, timeout=60)
    assert (done.returncode, "Traceback" in done.stderr) == (status, False)
    return done.stderr


def test_a_usual_port_that_is_taken_is_passed_over_and_said(tmp_path):
    with socket.socket() as taken:
        taken.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        with contextlib.suppress(OSError):  # then it is taken already
            taken.bind(("127.0.0.1", PORT))
            taken.listen()
        with dev(tmp_path / "data") as (_, said):
            port = int(re.search(r"API +http://127.0.0.1:(\d+)", said)[1])
            assert PORT < port < PORT + PORTS_TRIED
            assert f"Port {PORT} on 127.0.0.1 is in use by another program. Serving on port {port}." in said
            assert httpx.get(f"http://127.0.0.1:{port}/ok").status_code == 200


def test_a_debugger_may_attach_and_is_waited_for(tmp_path):
    port, debug = free_port(), free_port()
    words = ("--port", port, "--debug-port", debug, "--wait-for-client")
    with dev(tmp_path / "data", *words, until="Waiting for it") as (process, said):
        assert f"A debugger can attach to 127.0.0.1:{debug}." in said
        with socket.create_connection(("127.0.0.1", debug), timeout=10) as debugger:
            # An adapter speaks first, in the framing of the debug adapter protocol.
            assert debugger.recv(16).startswith(b"Content-Length: ")
        assert process.poll() is None


def test_waiting_needs_a_place_to_come_to():
    assert "--wait-for-client needs --debug-port" in refused("dev", "--wait-for-client")


def test_studio_is_told_where_the_server_is(tmp_path):
    port = free_port()
    with dev(tmp_path / "data", "--port", port, "--studio-url", "https://studio.example/") as (_, said):
        assert f"Studio   https://studio.example/studio/?baseUrl=http://127.0.0.1:{port}" in said


def test_https_is_served_with_a_certificate(tmp_path):
    authority = trustme.CA()
    made = authority.issue_cert("localhost")
    made.private_key_pem.write_to_path(tmp_path / "key.pem")
    made.cert_chain_pems[0].write_to_path(tmp_path / "cert.pem")
    port = free_port()
    words = ("--port", port, "--ssl-certfile", tmp_path / "cert.pem", "--ssl-keyfile", tmp_path / "key.pem")
    trusting = ssl.create_default_context()
    authority.configure_trust(trusting)
    with dev(tmp_path / "data", *words) as (_, said):
        assert f"API      https://127.0.0.1:{port}" in said
        assert httpx.get(f"https://localhost:{port}/ok", verify=trusting).status_code == 200


def test_a_bad_certificate_is_said_plainly(tmp_path):
    (tmp_path / "cert.pem").write_text("none")
    words = ("--port", free_port(), "--data", tmp_path / "data", "--ssl-certfile", tmp_path / "cert.pem")
    assert "HTTPS cannot be served with" in refused("dev", *words, status=1)


def test_a_tunnel_is_refused():
    assert "--tunnel is not supported: no request leaves this machine" in refused("dev", "--tunnel")


@pytest.mark.parametrize(
    ("word", "instead"), [("up", "docker compose up"), ("new", "threadloom init"), ("deploy", "threadloom build")]
)
def test_commands_of_the_reference_are_told_their_place(word, instead):
    assert instead in refused(word, "--anything")
