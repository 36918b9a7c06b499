// The guide's check as it was first printed: only `metadata.thread_id` is left out.

import { Client } from "@langchain/langgraph-sdk";

const client = new Client({ apiUrl: process.argv[2] });

function removeThreadId(d) {
  if (d.metadata && d.metadata.thread_id) {
    delete d.metadata.thread_id;
  }
  return d;
}

async function compareThreadHistories(threadId, copiedThreadId) {
  const originalThreadHistory = (await client.threads.getHistory(threadId)).map(removeThreadId);
  const copiedThreadHistory = (await client.threads.getHistory(copiedThreadId)).map(removeThreadId);

  // Compare the two histories
  console.assert(JSON.stringify(originalThreadHistory) === JSON.stringify(copiedThreadHistory));
  // if we made it here the assertion passed!
  console.log("The histories are the same.");
}

const thread = await client.threads.create();
await client.runs.wait(thread.thread_id, "agent", { input: { messages: [{ role: "user", content: "hello" }] } });
const copiedThread = await client.threads.copy(thread.thread_id);
await compareThreadHistories(thread.thread_id, copiedThread.thread_id);
