"""What the watch of an app's files reports."""

import asyncio
import contextlib

import pytest

from threadloom.reload.watch import Watch


@pytest.mark.anyio
async def test_a_change_before_the_first_look_is_reported(tmp_path):
    app = tmp_path / "app"
    app.mkdir()
    (app / "graph.py").write_text("value = 1\n")
    watch = Watch(tmp_path / "data")
    watch.aim([app], [])
    await watch.begin()
    (app / "graph.py").write_text("value = 22\n")
    (app / "more.py").write_text("")
    changes = watch.changes()
    async with contextlib.aclosing(changes), asyncio.timeout(30):
        assert await anext(changes) == {app / "graph.py", app / "more.py"}
