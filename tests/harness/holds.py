"""Holds one of everything that tests start, until it is cut off. `test_cut_off.py` runs it in a pytest of its own."""

import os
import time
from pathlib import Path

from tests import cluster
from tests.browser.chat_page import chromium
from tests.server import running

APP = Path(__file__).parents[1] / "apps" / "risk"


def test_that_holds_processes(tmp_path, postgres_uri, redis_uri):
    env = {"DATABASE_URI": postgres_uri, "REDIS_URI": redis_uri}
    with (
        running(APP, tmp_path / "data"),
        cluster.running(APP / "processes.json", tmp_path, env=env, apis=1, workers=1),
        chromium(),
    ):
        Path(os.environ["THREADLOOM_HOLDS"]).write_text(str(os.getpid()))
        time.sleep(600)
