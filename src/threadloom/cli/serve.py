"""`threadloom serve`: serves an app from one process or many, on one machine or many."""

import argparse
import contextlib
import logging
import os
import socket
from pathlib import Path
from typing import TYPE_CHECKING

from threadloom import __version__
from threadloom.cli import exposure, restart, supervisor
from threadloom.cli.dev import HOST, address, bind, configure_log, port_number
from threadloom.cli.options import add_config, add_http, add_verb, whole_number
from threadloom.errors import ConfigError

if TYPE_CHECKING:
    from threadloom.cli.options import Verbs
    from threadloom.config import Settings

PORT = 8000
ROLES = ("all", "api", "worker")

log = logging.getLogger("threadloom.cli")


def add(verbs: "Verbs") -> None:
    parser = add_verb(
        verbs,
        "serve",
        help="serve an app for many: with DATABASE_URI from several processes and machines, else from one process",
        example="threadloom serve --host 0.0.0.0 --port 8000",
    )
    add_config(parser)
    parser.add_argument(
        "--role",
        choices=ROLES,
        default="all",
        help="answer requests (api), execute runs (worker), or both (all, the default). A worker answers /ok, /live and /metrics",
    )
    parser.add_argument(
        "--workers", type=_count, default=1, metavar="N", help="processes that share the port (default: 1)"
    )
    parser.add_argument("--host", help=f"the address to listen on (default: {HOST})")
    parser.add_argument(
        "--port",
        type=port_number,
        help=f"the port to listen on, 0 for any free one (default: {PORT}; of a worker: any)",
    )
    parser.add_argument(
        "--data", type=Path, metavar="DIR", help="keep the data in this folder, with SQLite, whatever DATABASE_URI says"
    )
    parser.add_argument(
        "--jobs",
        "--n-jobs-per-worker",
        type=whole_number,
        metavar="N",
        help="how many runs each process executes at once (default: 100)",
    )
    add_http(parser)
    parser.set_defaults(run=run)


def _count(text: str) -> int:
    number = int(text)
    if number < 1:
        raise argparse.ArgumentTypeError(f"must be at least 1, got {text}")
    return number


def run(given: argparse.Namespace) -> int:
    """Serves until it is stopped.

    Raises:
        ConfigError: the configuration or a graph cannot be used, or the database does not support an option.
        StartError: the port is taken, the database cannot be reached, the data folder is in use.
    """
    import msgspec

    from threadloom.config import load

    started = dict(os.environ), str(Path.cwd())
    supervised = supervisor.supervised_process()
    settings = load(given.config, os.environ, {"data": given.data, "jobs": _jobs(given), "studio": given.studio})
    check(given, settings)
    configure_log(settings, given, f"threadloom-{given.role}-{supervised.number if supervised else 0}")
    host = given.host or settings.vars.langgraph_server_host or HOST
    with contextlib.ExitStack() as stack:
        listening = stack.enter_context(restart.inherited() or bind(host, _port(given, settings)))
        base = address(listening, host, secure=given.ssl_certfile is not None)
        variables = msgspec.structs.replace(settings.vars, langgraph_server_host=listening.getsockname()[0])
        if variables.langgraph_api_url is None and given.role != "worker":
            url = base + settings.http.mount_prefix
            variables = msgspec.structs.replace(variables, langgraph_api_url=url)
        settings = msgspec.structs.replace(settings, vars=variables)
        if supervised is None:
            for warning in settings.warnings:
                log.warning("%s: %s", settings.path or "environment", warning)
            if (open_to_all := _exposed(given, settings, listening)) is not None:
                log.warning("%s", open_to_all)
        shown = banner(given, settings, base)
        if supervised is None and given.workers > 1:
            grace = settings.vars.bg_job_shutdown_grace_period_secs
            return supervisor.supervise(
                listening, given.workers, grace=grace, on_ready=lambda: print(shown, flush=True)
            )
        if _serve(given, settings, listening, supervised, shown) and supervised is None:
            restart.begin(listening, *started)
    return 0


def check(given: argparse.Namespace, settings: "Settings") -> None:
    """Checks that the options fit each other and the configuration.

    Raises:
        ConfigError: they do not.
    """
    if settings.postgres_uri is None:
        alone = "Without DATABASE_URI the data are kept by SQLite, which one process has to itself"
        start = "Set DATABASE_URI=postgresql://user:password@host/name to start more."
        if given.workers > 1:
            raise ConfigError(f"{alone}: --workers {given.workers} cannot be. {start}")
        if given.role != "all":
            raise ConfigError(
                f"{alone} and which answers requests and executes runs: --role {given.role} cannot be. {start}"
            )
    if given.role == "api" and given.jobs:
        raise ConfigError(f"--role api executes no runs: --jobs {given.jobs} cannot be.")
    if given.role == "worker" and not settings.jobs:
        raise ConfigError("--role worker with no jobs would do nothing: set --jobs or N_JOBS_PER_WORKER to 1 or more.")


def _jobs(given: argparse.Namespace) -> int | None:
    jobs: int | None = given.jobs
    return 0 if given.role == "api" else jobs


def _port(given: argparse.Namespace, settings: "Settings") -> int:
    if given.port is not None:
        return int(given.port)
    if settings.vars.port is not None:
        return settings.vars.port
    return 0 if given.role == "worker" else PORT


def _exposed(given: argparse.Namespace, settings: "Settings", listening: socket.socket) -> str | None:
    """Returns the warning for a server that everybody can reach. A worker serves no data, so it needs none."""
    return None if given.role == "worker" else exposure.warning(settings, listening.getsockname()[0])


def _serve(
    given: argparse.Namespace,
    settings: "Settings",
    listening: socket.socket,
    supervised: "supervisor.SupervisedProcess | None",
    shown: str,
) -> bool:
    """Serves until stopped. Returns whether to restart."""
    from threadloom import wiring
    from threadloom.api.peer_processes import PeerProcesses
    from threadloom.api.probes import ProbeOnlyApp
    from threadloom.cli.server import serve

    peers = (
        PeerProcesses(supervised.folder, str(supervised.number))
        if supervised is not None and supervised.folder is not None
        else None
    )
    server = wiring.Server(settings, peers=peers)

    def ready() -> None:
        if supervised is not None:
            supervised.ready()
        else:
            print(shown, flush=True)
        server.ready()

    return serve(
        ProbeOnlyApp(server.app) if given.role == "worker" else server.app,
        listening,
        grace=settings.vars.bg_job_shutdown_grace_period_secs,
        on_ready=ready,
        on_stop=server.drain,
        on_leave=server.leave,
        drain=settings.threadloom.drain_seconds,
        keep_alive=settings.threadloom.keep_alive_seconds,
        certificate=given.ssl_certfile,
        key=given.ssl_keyfile,
    )


def banner(given: argparse.Namespace, settings: "Settings", base: str) -> str:
    """Returns the text that is shown once all processes are ready."""
    url = base + settings.http.mount_prefix
    lines = [f"Threadloom {__version__}", ""]
    if given.role == "worker":
        lines.append(f"  Probes   {base}/ok, /live, /metrics")
    else:
        lines.append(f"  API      {url}")
    if not settings.http.disable_meta and given.role != "worker":
        lines.append(f"  Docs     {url}/docs")
    if settings.serves_studio and given.role != "worker":
        lines.append(f"  Studio   {url}/studio/")
    executes = f"up to {settings.jobs} runs at once" if settings.jobs else "no runs"
    each = "" if given.workers == 1 else f"{given.workers} processes, each "
    lines.append(f"  Role     {given.role}: {each}{executes}")
    lines.append(f"  Graphs   {', '.join(settings.graphs)}")
    lines.append(f"  Data     {settings.where}")
    return "\n".join([*lines, "", "Ready. Ctrl-C stops it."])
