// Copying a thread with the JavaScript SDK.

import assert from "node:assert/strict";
import { Client } from "@langchain/langgraph-sdk";

const client = new Client({ apiUrl: process.argv[2] ?? "http://127.0.0.1:2024" });

// The states without the id of the thread they belong to: the one thing in which a copy differs.
function withoutThreadIds(history) {
  const states = structuredClone(history);
  for (const state of states) {
    delete state.metadata?.thread_id;
    delete state.checkpoint?.thread_id;
    delete state.parent_checkpoint?.thread_id;
  }
  return states;
}

// Create a thread and run the graph on it.
const thread = await client.threads.create();
const input = { messages: [{ role: "user", content: "hello" }] };
for await (const _ of client.runs.stream(thread.thread_id, "agent", { input }));

// Copy it.
const copied = await client.threads.copy(thread.thread_id);

// Compare the histories.
const originalHistory = await client.threads.getHistory(thread.thread_id, { limit: 100 });
const copiedHistory = await client.threads.getHistory(copied.thread_id, { limit: 100 });
assert.notEqual(originalHistory.length, 0);
assert.deepEqual(withoutThreadIds(copiedHistory), withoutThreadIds(originalHistory));
console.log("The histories are the same.");
