/** What `@langchain/langgraph-sdk` reads since 1.13: Stop of a run that answers, answers of other clients, streams of some
 * namespaces, joins at a checkpoint, lives of subgraphs, web sockets that are refused. */

import assert from "node:assert/strict";
import { Client, ProtocolWebSocketTransportAdapter } from "@langchain/langgraph-sdk";
import { StreamController } from "@langchain/langgraph-sdk/stream";
import { apiUrl, run, test, until, webSocketFactory } from "./lib.js";

const client = new Client({ apiUrl });

async function open(assistantId, threadId = null) {
  const controller = new StreamController({ assistantId, client, threadId });
  controller.activate();
  await controller.hydrate(threadId);
  const shown = () => controller.rootStore.getSnapshot();
  return { controller, shown, questions: () => shown().interrupts };
}

async function all(stream) {
  const parts = [];
  for await (const part of stream) parts.push(part);
  return parts;
}

async function statuses(threadId) {
  return (await client.runs.list(threadId)).map((one) => one.status);
}

test("Stop cancels the run that an answer started", async () => {
  const { controller, shown, questions } = await open("asking_slow");
  controller.submit({ n: 1000 });
  await until(() => questions().length === 1);
  controller.respond("yes", { interruptId: questions()[0].id });
  const threadId = shown().threadId;
  await until(async () => (await statuses(threadId))[0] === "running");
  await until(() => (shown().values.steps ?? []).length > 0);
  await controller.stop();
  await until(async () => (await statuses(threadId))[0] === "interrupted");
  await until(() => !shown().isLoading);
  controller.dispose();
});

test("a question is offered no more once another client has answered it", async () => {
  const one = await open("asking_slow");
  one.controller.submit({ n: 6 });
  await until(() => one.questions().length === 1);
  const threadId = one.shown().threadId;
  const other = await open("asking_slow", threadId);
  await until(() => other.questions().length === 1);
  await one.controller.respond("yes", { interruptId: one.questions()[0].id });
  await until(() => other.questions().length === 0);
  await until(async () => (await client.threads.get(threadId)).status === "idle");
  for (const { controller } of [one, other]) controller.dispose();
});

test("a stream keeps to the namespaces that were asked for", async () => {
  const payload = { input: {}, streamMode: ["updates"], streamSubgraphs: true };
  const named = async (streamNamespaces) =>
    (await all(client.runs.stream(null, "nested", { ...payload, streamNamespaces }))).map((part) => part.event.split(":")[0]);
  assert.deepEqual(await named([""]), ["metadata", "updates", "updates"]);
  assert.deepEqual(await named(["child"]), ["metadata", "updates|child"]);
});

test("a join goes on after the checkpoint that is shown", async () => {
  const { thread_id: threadId } = await client.threads.create();
  const payload = { input: { n: 2 }, streamMode: ["values"], streamResumable: true };
  const told = await all(client.runs.stream(threadId, "slow", payload));
  const [{ run_id: runId }] = await client.runs.list(threadId);
  const [newest, before] = await client.threads.getHistory(threadId);
  const join = (state) =>
    all(client.runs.joinStream(threadId, runId, { lastEventId: "-1", checkpointId: state.checkpoint.checkpoint_id }));
  assert.deepEqual(await join(newest), []);
  assert.deepEqual(await join(before), told.slice(-1));
});

test("lives of subgraphs are told", async () => {
  const told = await all(client.runs.stream(null, "delegating", { input: { n: 1 }, streamMode: ["lifecycle"] }));
  const lives = told.filter((part) => part.event.startsWith("lifecycle|"));
  assert.deepEqual(lives.map((part) => part.data.event), ["started", "completed"]);
  assert.deepEqual([...new Set(lives.map((part) => part.data.tool_call_id))], ["call_delegate"]);
});

test("a web socket that is refused ends with the status", async () => {
  const transport = new ProtocolWebSocketTransportAdapter({ apiUrl, threadId: "no-uuid", webSocketFactory });
  await transport.open();
  await assert.rejects(all(transport.events()), (error) => error.status === 422);
});

await run();
