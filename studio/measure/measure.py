"""Measures Studio in Chromium on a server of its own with many threads, a long history and large graphs: `make studio-measure`.

Prints a line for each figure with what it should be at most. Takes a few minutes; no part of the tests, since figures depend on
what else the machine does.
"""

import argparse
import asyncio
import os
import statistics
import tempfile
from pathlib import Path

import httpx
from playwright.sync_api import BrowserContext, Page

from tests.browser.chat_page import chromium
from tests.browser.studio_page import build
from tests.server import running

APP = Path(__file__).parent / "app"
REPEATS = 5
AT_ONCE = 16
PIXELS_A_FRAME = 120

OBSERVE = """
window.measured = {longest: 0, rows: null, drawn: null, events: []};
new PerformanceObserver(list => list.getEntries().forEach(one => measured.longest = Math.max(measured.longest, one.duration)))
  .observe({type: "longtask", buffered: true});
const interaction = one => one.interactionId && measured.events.push([one.name, one.duration]);
new PerformanceObserver(list => list.getEntries().forEach(interaction))
  .observe({type: "event", durationThreshold: 16, buffered: true});
new MutationObserver(() => {
  const note = name => requestAnimationFrame(() => measured[name] ??= performance.now());
  if (measured.rows === null && document.querySelector(".lines .line a")) note("rows");
  if (measured.drawn === null && document.querySelector(".canvas svg g")) note("drawn");
}).observe(document, {childList: true, subtree: true});
"""

SCROLL = """
([selector, by]) => new Promise(done => {
  const box = document.querySelector(selector), times = [];
  let still = 0, last = performance.now();
  const frame = now => {
    times.push(now - last);
    last = now;
    const before = box.scrollTop;
    box.scrollTop += by;
    still = box.scrollTop === before ? still + 1 : 0;
    if (still > 40) done(times.slice(2, -40)); else requestAnimationFrame(frame);
  };
  requestAnimationFrame(frame);
})
"""

PARTS_OF_FRAMES = """
new Promise(done => {
  const times = [];
  let last = performance.now();
  const frame = now => {
    times.push(now - last);
    last = now;
    if (times.length < 120) requestAnimationFrame(frame); else done(times.slice(2));
  };
  requestAnimationFrame(frame);
})
"""


async def fill(url: str, threads: int, steps: int) -> str:
    """Makes threads, and one with a long history; returns its id."""
    async with httpx.AsyncClient(base_url=url, timeout=600) as client:
        gate = asyncio.Semaphore(AT_ONCE)

        async def make(number: int) -> None:
            async with gate:
                body = {"metadata": {"title": f"Errand {number}", "graph_id": "loop", "owner": f"user {number % 50}"}}
                (await client.post("/threads", json=body)).raise_for_status()

        await asyncio.gather(*(make(number) for number in range(threads)))
        thread_id: str = (await client.post("/threads", json={"metadata": {"title": "long"}})).json()["thread_id"]
        run = {"assistant_id": "loop", "input": {"left": steps}, "config": {"recursion_limit": steps + 10}}
        (await client.post(f"/threads/{thread_id}/runs/wait", json=run)).raise_for_status()
        return thread_id


class Report:
    """Lines of figures."""

    def __init__(self) -> None:
        self.missed = 0

    def line(self, what: str, value: float, most: float | None, unit: str, more: str = "") -> None:
        wanted = "" if most is None else f"at most {most:g} {unit}"
        mark = "" if most is None else "ok" if value <= most else "MISSED"
        self.missed += mark == "MISSED"
        print(f"{what:<58} {value:>8.1f} {unit:<3} {wanted:<18} {mark:<7}{more}", flush=True)


def opened(context: BrowserContext, address: str) -> Page:
    page = context.new_page()
    page.add_init_script(OBSERVE)
    page.goto(address)
    return page


def after_answer(page: Page, url_end: str, mark: str) -> tuple[float, float]:
    """Returns the milliseconds from an answer's arrival to what it shows, and the longest task till then."""
    while page.evaluate(f"measured.{mark}") is None:
        page.wait_for_timeout(50)
    script = f"""() => {{
        const ends = performance.getEntriesByType("resource").filter(one => one.name.split("?")[0].endsWith("{url_end}"));
        return [measured.{mark} - ends[0].responseEnd, measured.longest];
    }}"""
    shown, longest = page.evaluate(script)
    return shown, longest


def measure(url: str, long_thread: str, threads: int, steps: int, report: Report) -> None:
    with chromium() as browser:
        paints, lists, rows = [], [], []
        for _ in range(REPEATS):
            context = browser.new_context(viewport={"width": 1440, "height": 900})  # nothing is cached
            page = opened(context, f"{url}/studio/#/threads")
            lists.append(after_answer(page, "/threads/search", "rows")[0])
            paints.append(page.evaluate("performance.getEntriesByName('first-contentful-paint')[0].startTime"))
            rows.append(page.evaluate("measured.rows"))
            context.close()
        report.line("first paint, nothing cached", statistics.median(paints), 300, "ms", spread(paints))
        report.line(f"list of {threads} threads, after its data", statistics.median(lists), 300, "ms", spread(lists))
        report.line("list, from the first request of the page", statistics.median(rows), None, "ms")

        context = browser.new_context(viewport={"width": 1440, "height": 900})
        page = opened(context, f"{url}/studio/#/threads")
        page.locator(".lines .line a").first.wait_for()
        frames_of(page, "this machine, nothing moves", page.evaluate(PARTS_OF_FRAMES), report, None)
        frames_of(
            page, f"scrolling {threads} threads", page.evaluate(SCROLL, [".lines", PIXELS_A_FRAME * 8]), report, None
        )

        for view, by in (("steps", PIXELS_A_FRAME), ("everything", PIXELS_A_FRAME * 4)):
            page = opened(context, f"{url}/studio/#/threads/{long_thread}?view={view}")
            page.locator("button.step").first.wait_for()
            before = heap(page)
            while page.locator(".more").count():  # to the end, which reads all
                page.locator(".talk").evaluate("box => box.scrollTop = box.scrollHeight")
                page.wait_for_timeout(20)
            page.locator("button.step").last.wait_for()
            after = heap(page)
            rows_drawn = page.locator("button.step").count()
            frames_of(
                page, f"scrolling {steps} checkpoints, {view}", page.evaluate(SCROLL, [".talk", -by]), report, 16.9
            )
            grown = (after - before) / 1e6
            report.line(
                "  heap after all were seen, beyond the first page", grown, None, "MB", f"{rows_drawn} rows drawn"
            )
            page.close()

        for graph in ("deep", "wide", "tree"):
            page = opened(context, f"{url}/studio/#/threads/new?graph={graph}")
            shown, longest = after_answer(page, "/graph", "drawn")
            report.line(f"graph of 1,000 nodes, {graph}: drawn after its data", shown, 1000, "ms")
            report.line(
                "  longest task meanwhile",
                longest,
                None,
                "ms",
                f"{page.locator('.canvas svg g').count()} nodes in view",
            )
            if graph == "wide":
                page.locator(".canvas svg").hover()
                page.keyboard.down("Control")
                for _ in range(8):
                    page.mouse.wheel(0, 200)
                page.keyboard.up("Control")
                page.wait_for_timeout(300)
                nodes = page.locator(".canvas svg g").count()
                longest = page.evaluate("measured.longest")
                report.line("  longest task, zoomed out to all", longest, None, "ms", f"{nodes} nodes in view")
            page.close()
        clicks(opened(context, f"{url}/studio/#/threads"), report)


def spread(times: list[float]) -> str:
    return f"{min(times):.0f} to {max(times):.0f}"


def frames_of(page: Page, what: str, times: list[float], report: Report, most: float | None) -> None:
    late = sum(time > 34 for time in times)
    report.line(
        f"{what}: median frame", statistics.median(times), most, "ms", f"{len(times)} frames, {late} of them over 34 ms"
    )


def heap(page: Page) -> float:
    session = page.context.new_cdp_session(page)
    session.send("HeapProfiler.collectGarbage")
    session.send("Performance.enable")
    metrics = session.send("Performance.getMetrics")["metrics"]
    session.detach()
    return float(next(one["value"] for one in metrics if one["name"] == "JSHeapUsedSize"))


def clicks(page: Page, report: Report) -> None:
    """From the press to the next picture on the screen, as the browser measures it."""
    page.locator(".lines .line a").first.wait_for()
    page.wait_for_timeout(500)

    def timed(what: str, click: object) -> None:
        page.evaluate("measured.events = []")
        assert callable(click)
        click()
        page.wait_for_timeout(400)
        durations = [duration for _, duration in page.evaluate("measured.events")]
        report.line(
            f"click: {what}", max(durations, default=8), 50, "ms", "" if durations else "below what the browser tells"
        )

    timed("select a thread", lambda: page.locator(".lines .line .tick").nth(3).click())
    timed("select nothing", lambda: page.get_by_role("button", name="Select nothing").click())
    timed("open a thread", lambda: page.locator(".lines .line", has_text="long").first.click())
    page.get_by_role("tab", name="Steps").wait_for()
    timed("steps", lambda: page.get_by_role("tab", name="Steps").click())
    timed("pick a step", lambda: page.locator("button.step").nth(4).click())
    timed("pick a node of the graph", lambda: page.locator(".canvas g[role=button]").first.click())
    timed("everything", lambda: page.get_by_role("tab", name="Everything").click())
    timed("conversation", lambda: page.get_by_role("tab", name="Conversation").click())


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--threads", type=int, default=10_000)
    parser.add_argument("--steps", type=int, default=5_000)
    options = parser.parse_args()
    build()
    report = Report()
    with tempfile.TemporaryDirectory() as folder, running(APP, Path(folder) / "data") as server:
        long_thread = asyncio.run(fill(server.url, options.threads, options.steps))
        load = os.getloadavg()[0]
        print(f"{os.cpu_count()} cores, load {load:.1f}, {options.threads} threads, {options.steps} checkpoints")
        measure(server.url, long_thread, options.threads, options.steps, report)
    raise SystemExit(1 if report.missed else 0)


if __name__ == "__main__":
    main()
