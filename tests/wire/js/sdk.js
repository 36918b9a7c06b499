/** `@langchain/langgraph-sdk`: `client.threads.stream`, by SSE and by web socket. */

import assert from "node:assert/strict";
import { Client } from "@langchain/langgraph-sdk";
import { SAY, apiUrl, letGo, run, test, until, webSocketFactory } from "./lib.js";

const client = new Client({ apiUrl });

function open(transport, assistantId, threadId) {
  const options = { assistantId, transport, webSocketFactory };
  return threadId ? client.threads.stream(threadId, options) : client.threads.stream(options);
}

async function listed(iterable) {
  const items = [];
  for await (const item of iterable) items.push(item);
  return items;
}

for (const transport of ["sse", "websocket"]) {
  const case_ = (name, body) => test(`${name} (${transport})`, body);

  case_("a run gives values and output", async () => {
    const thread = open(transport, "held_steps");
    const started = await thread.run.start({ input: { n: 3 } });
    assert.ok(started.run_id);
    await letGo(thread.threadId);
    assert.deepEqual((await thread.output).steps, ["count 3"]);
    await thread.close();
  });

  case_("a message streams word by word", async () => {
    const thread = open(transport, "held_chat");
    const reading = listed(thread.messages);
    await thread.run.start({ input: SAY });
    await letGo(thread.threadId);
    const [message] = await reading;
    assert.equal(await message.text, "echo: hi you");
    assert.equal(message.node, "chat");
    await thread.close();
  });

  case_("tool calls have input and output", async () => {
    const thread = open(transport, "held_tools");
    const reading = listed(thread.toolCalls);
    await thread.run.start({ input: SAY });
    await letGo(thread.threadId);
    const [call] = await reading;
    assert.equal(call.name, "add");
    assert.deepEqual(call.args, { a: 2, b: 3 });
    assert.equal(await call.output, "5");
    await thread.close();
  });

  case_("extensions carry the payload", async () => {
    const thread = open(transport, "held_nested");
    const note = thread.extensions.note;
    await thread.run.start({ input: {} });
    await letGo(thread.threadId);
    assert.deepEqual(await note, { from: "outer" });
    await thread.close();
  });

  case_("an interrupt has its payload and is answered", async () => {
    const thread = open(transport, "held_asking");
    await thread.run.start({ input: { n: 1 } });
    await letGo(thread.threadId);
    await until(() => thread.interrupted);
    const [asked] = thread.interrupts;
    assert.deepEqual(asked.payload, { question: "go on?" });
    await thread.input.respond({ namespace: asked.namespace, interrupt_id: asked.interruptId, response: "yes" });
    await until(async () => (await client.threads.getState(thread.threadId)).values.answers?.ask === "yes");
    await thread.close();
  });

  case_("raw events of a subscription come once and in order", async () => {
    const thread = open(transport, "held_nested");
    const subscription = await thread.subscribe({ channels: ["updates", "custom", "tasks", "checkpoints"] });
    const reading = listed(subscription);
    await thread.run.start({ input: {} });
    await letGo(thread.threadId);
    const seen = await reading;
    const numbers = seen.map((event) => event.seq);
    assert.deepEqual(numbers, [...new Set(numbers)].sort((a, b) => a - b));
    assert.deepEqual([...new Set(seen.map((event) => event.method))].sort(), ["checkpoints", "custom", "tasks", "updates"]);
    await thread.close();
  });

  case_("a late subscription gets what it missed", async () => {
    const first = open(transport, "held_steps");
    await first.run.start({ input: { n: 1 } });
    await letGo(first.threadId);
    await first.output;
    await first.close();
    const later = open(transport, "held_steps", first.threadId);
    const subscription = await later.subscribe({ channels: ["values"] });
    const { value } = await subscription[Symbol.asyncIterator]().next();
    assert.equal(value.params.data.n, 1);
    await later.close();
  });

  case_("a refused command is a protocol error", async () => {
    const thread = open(transport, "no_such_graph");
    await assert.rejects(thread.run.start({ input: {} }), (error) => error.code === "invalid_argument");
    await thread.close();
  });
}

await run();
