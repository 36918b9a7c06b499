/** `useStream`, of `@langchain/react` (v2 protocol) and of `@langchain/langgraph-sdk/react` (classic streams). */

import assert from "node:assert/strict";
import { JSDOM } from "jsdom";
import { SAY, apiUrl, letGo, run, test, until, webSocketFactory } from "./lib.js";

const dom = new JSDOM("<!doctype html><div id=root></div>", { url: "http://localhost/" });
const { document, sessionStorage, navigator } = dom.window;
for (const [name, value] of Object.entries({ window: dom.window, document, sessionStorage, navigator })) {
  Object.defineProperty(globalThis, name, { value, configurable: true });
}

const { createElement, useEffect } = await import("react");
const { createRoot } = await import("react-dom/client");
const { useMessageMetadata, useStream } = await import("@langchain/react");
const { useStream: useClassicStream } = await import("@langchain/langgraph-sdk/react");

/** Renders a hook in a page; `now` is what it gave last, and `ready` whether its effects have run, as before any user could act. */
function mounted(hook) {
  const page = { now: undefined, history: [], ready: false };
  function Page() {
    page.now = hook();
    page.history.push(page.now);
    useEffect(() => {
      page.ready = true;
    }, []);
    return null;
  }
  const root = createRoot(document.createElement("div"));
  root.render(createElement(Page));
  page.leave = () => root.unmount();
  return page;
}

/** Submits to a run of a `held_…` graph, and lets it go. */
async function submit(page, input) {
  const submitting = page.now.submit(input);
  await until(() => page.now.threadId);
  await letGo(page.now.threadId);
  await submitting;
}

const textOf = (message) =>
  typeof message.content === "string" ? message.content : message.content.map((block) => block.text ?? "").join("");

for (const transport of ["sse", "websocket"]) {
  const options = { apiUrl, transport, webSocketFactory };
  const case_ = (name, body) => test(`${name} (${transport})`, body);

  case_("useStream shows messages as they are told", async () => {
    const page = mounted(() => useStream({ ...options, assistantId: "held_unhurried" }));
    await until(() => page.ready);
    await submit(page, SAY);
    // The end of a run and its last words come by different streams.
    await until(() => page.now.messages.map(textOf).join() === "hi you,one two three four" && !page.now.isLoading);
    const shown = page.history.flatMap((one) => one.messages.map(textOf));
    const parts = ["one", "one two", "one two three"];
    assert.ok(parts.some((part) => shown.includes(part)), "never saw a part of the message");
    assert.ok(page.history.some((one) => one.isLoading));
    assert.equal(page.now.error, undefined);
    page.leave();
  });

  case_("useStream shows interrupts and resumes", async () => {
    const page = mounted(() => useStream({ ...options, assistantId: "held_asking" }));
    await until(() => page.ready);
    await submit(page, { n: 4 });
    await until(() => page.now.interrupts.length === 1 && !page.now.isLoading);
    assert.deepEqual(page.now.interrupt.value, { question: "go on?" });
    await page.now.respond("yes");
    await until(() => page.now.values.answers?.ask === "yes" && !page.now.isLoading);
    assert.equal(page.now.interrupts.length, 0);
    assert.deepEqual(page.now.values.steps, ["count 4"]);
    page.leave();
  });

  case_("useStream answers a question deep inside", async () => {
    const page = mounted(() => useStream({ ...options, assistantId: "held_nested_ask" }));
    await until(() => page.ready);
    await submit(page, {});
    await until(() => page.now.interrupts.length === 1 && !page.now.isLoading);
    await page.now.respond("deep");
    await until(() => page.now.values.answers?.ask === "deep" && !page.now.isLoading);
    page.leave();
  });

  case_("useStream tells why a run failed", async () => {
    const page = mounted(() => useStream({ ...options, assistantId: "held_failing" }));
    await until(() => page.ready);
    await submit(page, {}).catch(() => undefined);
    await until(() => page.now.error !== undefined && !page.now.isLoading);
    assert.match(String(page.now.error?.message ?? page.now.error), /planned failure/);
    page.leave();
  });

  case_("useStream shows tool calls and subgraphs", async () => {
    const page = mounted(() => useStream({ ...options, assistantId: "held_tools" }));
    await until(() => page.ready);
    await submit(page, SAY);
    await until(() => page.now.messages.length === 4 && !page.now.isLoading);
    await until(() => page.now.toolCalls.length === 1);
    assert.equal(page.now.toolCalls[0].name, "add");
    page.leave();
  });

  case_("useStream takes up a thread that waits", async () => {
    const first = mounted(() => useStream({ ...options, assistantId: "held_asking" }));
    await until(() => first.ready);
    await submit(first, { n: 1 });
    await until(() => first.now.interrupts.length === 1);
    const { threadId } = first.now;
    first.leave();
    const later = mounted(() => useStream({ ...options, assistantId: "held_asking", threadId }));
    await until(() => later.now?.interrupts.length === 1);
    await letGo(threadId);
    await later.now.respond("late", { interruptId: later.now.interrupt.id });
    await until(() => later.now.values.answers?.ask === "late");
    later.leave();
  });

  case_("useStream asks anew by a fork", async () => {
    let last;
    const page = mounted(() => {
      const stream = useStream({ ...options, assistantId: "held_unhurried" });
      last = useMessageMetadata(stream, stream.messages.at(-1)?.id);
      return stream;
    });
    await until(() => page.ready);
    await submit(page, SAY);
    await until(() => page.now.messages.length === 2 && !page.now.isLoading);
    await until(() => last?.parentCheckpointId);
    const [asked, answered] = page.now.messages;
    await page.now.submit(null, { forkFrom: last.parentCheckpointId });
    await until(() => page.now.messages.length === 2 && page.now.messages[1].id !== answered.id && !page.now.isLoading);
    assert.equal(page.now.messages[0].id, asked.id);
    await until(() => textOf(page.now.messages[1]) === "one two three four");
    page.leave();
  });

  case_("useStream stops a run", async () => {
    const page = mounted(() => useStream({ ...options, assistantId: "slow" }));
    await until(() => page.ready);
    void page.now.submit({ n: 1000 });
    await until(() => page.now.values.steps?.length > 0);
    await page.now.stop();
    await until(() => !page.now.isLoading);
    const runs = await (await fetch(`${apiUrl}/threads/${page.now.threadId}/runs`)).json();
    await until(async () => {
      const [one] = await (await fetch(`${apiUrl}/threads/${page.now.threadId}/runs`)).json();
      return one.status === "interrupted";
    });
    assert.equal(runs.length, 1);
    page.leave();
  });
}

test("the older useStream works on classic streams", async () => {
  const page = mounted(() => useClassicStream({ apiUrl, assistantId: "chat", messagesKey: "messages" }));
  await until(() => page.ready);
  page.now.submit(SAY);
  await until(() => page.now.messages.map(textOf).join() === "hi you,echo: hi you" && !page.now.isLoading);
  page.leave();
});

await run();
