"""`threadloom dev`: serves an app from one process, with its data in a folder."""

import argparse
import contextlib
import errno
import logging
import os
import socket
import sys
import tempfile
import threading
import webbrowser
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING

from threadloom import __version__
from threadloom.cli import debugger, exposure, restart
from threadloom.cli.options import add_config, add_http, add_refused, add_verb, whole_number
from threadloom.errors import ConfigError, StartError

if TYPE_CHECKING:
    from threadloom.cli.options import Verbs
    from threadloom.config import Settings

HOST = "127.0.0.1"
PORT = 2024
PORTS_TRIED = 100
GRACE_SECONDS = 2.0
"""Seconds for runs and streams to end when the server stops, unless BG_JOB_SHUTDOWN_GRACE_PERIOD_SECS is set. An interrupted run
continues from its last checkpoint at the next start.
"""


log = logging.getLogger("threadloom.cli")


class PortTaken(StartError):
    """Another program listens on the port."""


def add(verbs: "Verbs") -> None:
    parser = add_verb(
        verbs,
        "dev",
        help="serve the app of a langgraph.json on this machine",
        example="threadloom dev --config langgraph.json --port 2024",
    )
    add_config(parser)
    parser.add_argument("--host", help=f"the address to listen on (default: {HOST})")
    parser.add_argument(
        "--port",
        type=port_number,
        help=f"the port to listen on, 0 for any free one (default: {PORT}, or the next free one when that is taken)",
    )
    parser.add_argument(
        "--data", type=Path, metavar="DIR", help="the data folder (default: .threadloom beside the configuration)"
    )
    parser.add_argument(
        "--jobs",
        "--n-jobs-per-worker",
        type=whole_number,
        metavar="N",
        help="how many runs are executed at once; 0 serves without executing (default: 100)",
    )
    parser.add_argument("--no-reload", action="store_true", help="do not watch the app's code for changes")
    parser.add_argument("--no-browser", action="store_true", help="do not open Studio in a browser")
    parser.add_argument(
        "--allow-blocking",
        action="store_true",
        help="accepted for compatibility: blocking code is never refused, only named in the log",
    )
    add_http(parser)
    parser.add_argument(
        "--debug-port", type=port_number, metavar="PORT", help="listen here for a debugger (needs the package debugpy)"
    )
    parser.add_argument("--wait-for-client", action="store_true", help="start only once a debugger is attached")
    parser.add_argument("--studio-url", metavar="URL", help="also say where a Studio at this address shows the server")
    add_refused(parser, "--tunnel", "no request leaves this machine. Put a proxy of your choice before the server.")
    parser.set_defaults(run=run)


def port_number(text: str) -> int:
    """Parses an option that takes a port."""
    number = int(text)
    if not 0 <= number <= 65_535:
        raise argparse.ArgumentTypeError(f"must be between 0 and 65535, got {text}")
    return number


def run(given: argparse.Namespace) -> int:
    """Serves until it is stopped.

    Raises:
        ConfigError: the configuration or a graph cannot be used.
        StartError: the given port is taken, the data folder is in use, or the debugger's port cannot be used.
    """
    import msgspec

    from threadloom.config import load

    started = dict(os.environ), str(Path.cwd())
    told = {"data": given.data, "jobs": given.jobs, "studio": given.studio}
    settings = load(given.config, started[0], told, env_file_required=False)
    file = settings.path
    configure_log(settings, given)
    if given.wait_for_client and given.debug_port is None:
        raise ConfigError("--wait-for-client needs --debug-port, for a debugger to come to.")
    host = given.host or settings.vars.langgraph_server_host or HOST
    port = given.port if given.port is not None else settings.vars.port
    with contextlib.ExitStack() as stack:
        restarted = restart.inherited()
        listening = stack.enter_context(restarted or _listen(host, port))
        if given.debug_port is not None:
            debugger.listen(given.debug_port, wait=given.wait_for_client, say=lambda text: print(text, flush=True))
        base = address(listening, host, secure=given.ssl_certfile is not None)
        for warning in settings.warnings:
            log.warning("%s: %s", file or "environment", warning)
        if (open_to_all := exposure.warning(settings, listening.getsockname()[0])) is not None:
            log.warning("%s", open_to_all)
        data = settings.data
        if settings.disable_persistence and given.data is None:
            data = Path(stack.enter_context(tempfile.TemporaryDirectory(prefix="threadloom-")))

        def completed(settings: "Settings") -> "Settings":
            """Returns the settings with the values that only the process knows."""
            variables = msgspec.structs.replace(
                settings.vars,
                langgraph_api_url=settings.vars.langgraph_api_url or base + settings.http.mount_prefix,
                langgraph_server_host=listening.getsockname()[0],
            )
            return msgspec.structs.replace(settings, data=data, vars=variables)

        def read() -> "Settings":
            return completed(load(file, started[0], told, env_file_required=False))

        settings = completed(settings)
        opened = None if given.no_browser or restarted or not settings.serves_studio else studio_address(settings, base)
        if _serve(settings, read, listening, base, given, opened):
            restart.begin(listening, *started)
    return 0


def configure_log(settings: "Settings", given: argparse.Namespace, name: str = "threadloom") -> None:
    """Sets up the log; `name` is that of its file, if it goes to one.

    Raises:
        StartError: the file cannot be written.
    """
    from threadloom import log as logs

    kept = settings.threadloom.retention.logs_days
    try:
        logs.configure(
            settings.vars.log_level,
            as_json=settings.vars.log_json,
            color=settings.vars.log_color,
            server_level=given.server_log_level,
            file=settings.data / "logs" / f"{name}.log" if kept else None,
            file_days=kept or 1,
        )
    except OSError as error:
        raise StartError(f"The log in {settings.data} cannot be written: {error}") from error


def _listen(host: str, port: int | None) -> socket.socket:
    """Listens on the given port, or without one on the usual port, or the next free one if that is taken.

    Raises:
        PortTaken: the given port is taken, or all of `PORTS_TRIED` ports are.
    """
    if port is not None:
        return bind(host, port)
    for candidate in range(PORT, PORT + PORTS_TRIED - 1):
        with contextlib.suppress(PortTaken):
            listening = bind(host, candidate)
            if candidate != PORT:
                log.warning("Port %d on %s is in use by another program. Serving on port %d.", PORT, host, candidate)
            return listening
    return bind(host, PORT + PORTS_TRIED - 1)


def bind(host: str, port: int) -> socket.socket:
    """Returns a listening socket. Requests wait in its queue until the app is ready.

    Raises:
        PortTaken: another program listens there.
        StartError: the address cannot be used; the message has the reason.
    """
    try:
        family, kind, protocol, _, where = socket.getaddrinfo(host, port, type=socket.SOCK_STREAM)[0]
    except (OSError, UnicodeError) as error:
        raise StartError(f"{host} is no address of this machine: {error}") from error
    listening = socket.socket(family, kind, protocol)
    try:
        listening.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        listening.bind(where)
        listening.listen(2048)
    except OSError as error:
        listening.close()
        if error.errno == errno.EADDRINUSE:
            raise PortTaken(
                f"Port {port} on {host} is in use by another program. Stop that one, or choose another port with --port."
            ) from error
        raise StartError(f"Cannot listen on {host}, port {port}: {error.strerror}") from error
    return listening


def address(listening: socket.socket, host: str, *, secure: bool) -> str:
    """Returns the URL at which a listening socket is reached from this machine."""
    reached = {"0.0.0.0": "127.0.0.1", "::": "[::1]", "": "127.0.0.1"}.get(host, f"[{host}]" if ":" in host else host)
    return f"{'https' if secure else 'http'}://{reached}:{listening.getsockname()[1]}"


def _serve(
    settings: "Settings",
    read: Callable[[], "Settings"],
    listening: socket.socket,
    base: str,
    given: argparse.Namespace,
    opened: str | None,
) -> bool:
    """Serves until stopped. Returns whether to restart. `read` reads the configuration again; `opened` is the address to open in
    a browser.
    """
    from threadloom import wiring
    from threadloom.cli.server import serve
    from threadloom.reload import Reloader

    told = os.environ.get("BG_JOB_SHUTDOWN_GRACE_PERIOD_SECS") or settings.env.get("BG_JOB_SHUTDOWN_GRACE_PERIOD_SECS")
    server = wiring.Server(settings, grace=None if told else GRACE_SECONDS)
    if not given.no_reload:
        server.background.append(Reloader(server, read).run)

    def ready() -> None:
        print(banner(settings, base, watches=not given.no_reload, studio=given.studio_url), flush=True)
        server.ready()
        if opened is not None:
            threading.Thread(target=browse, args=(opened,), daemon=True).start()

    return serve(
        server.app,
        listening,
        grace=settings.vars.bg_job_shutdown_grace_period_secs if told else GRACE_SECONDS,
        on_ready=ready,
        on_stop=server.drain,
        on_leave=server.leave,
        keep_alive=settings.threadloom.keep_alive_seconds,
        certificate=given.ssl_certfile,
        key=given.ssl_keyfile,
    )


def studio_address(settings: "Settings", base: str) -> str:
    """Returns the address of Studio on the server at `base`."""
    return f"{base}{settings.http.mount_prefix}/studio/"


def browse(url: str) -> None:
    """Opens an address in the user's browser, if this machine has a desktop to show one. A browser in the terminal would take the
    terminal from the log.
    """
    desktop = sys.platform in ("darwin", "win32") or any(map(os.environ.get, ("DISPLAY", "WAYLAND_DISPLAY", "BROWSER")))
    if desktop:
        with contextlib.suppress(webbrowser.Error):
            webbrowser.open(url)


def banner(settings: "Settings", base: str, *, watches: bool, studio: str | None) -> str:
    """Returns the text that is shown once the server is ready."""
    url = base + settings.http.mount_prefix
    lines = [f"Threadloom {__version__}", "", f"  API      {url}"]
    if not settings.http.disable_meta:
        lines.append(f"  Docs     {url}/docs")
    if studio is not None:
        lines.append(f"  Studio   {studio.rstrip('/')}/studio/?baseUrl={url}")
    elif settings.serves_studio:
        lines.append(f"  Studio   {studio_address(settings, base)}")
    lines += [f"  Graphs   {', '.join(settings.graphs)}", f"  Data     {settings.where}"]
    if (open_to_all := exposure.warning(settings, settings.vars.langgraph_server_host or HOST)) is not None:
        lines.append(f"  WARNING  {open_to_all}")
    lines.append(f"  Reload   {'on, changed code serves at once' if watches else 'off'}")
    return "\n".join([*lines, "", "Ready. Ctrl-C stops it."])
