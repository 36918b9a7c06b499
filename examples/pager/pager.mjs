// A chat in the terminal whose messages have pagers, `< 2/3 >`, drawn from the map of the thread: one small answer, without any
// values. It talks to `examples/chat`:
//
//     threadloom dev --config examples/chat/langgraph.json
//     cd examples/pager && npm install && node pager.mjs
//
// A line is said. `/edit 0 …` replaces message 0, `/redo 1` makes answer 1 anew, `/show 0 1` goes to alternative 1 of message 0.

import { createInterface } from "node:readline";
import { Client } from "@langchain/langgraph-sdk";

const apiUrl = process.argv[2] ?? "http://127.0.0.1:2024";
const client = new Client({ apiUrl });
const { thread_id } = await client.threads.create();
const run = (text, checkpoint_id) =>
  client.runs.wait(thread_id, "agent", {
    input: text === null ? null : { messages: [{ role: "user", content: text }] },
    ...(checkpoint_id ? { checkpoint: { checkpoint_id, checkpoint_ns: "" } } : {}),
  });
const mapOf = async () => (await fetch(`${apiUrl}/threads/${thread_id}/branches`)).json();

let leaf = null; // the index of the last turn on the path that is shown; null: of the newest state

// The turns from the first one to `number`.
function pathTo(turns, number) {
  const path = [];
  for (let at = number; at !== null; at = turns[at].parent) path.unshift(at);
  return path;
}

// The newest turn that follows `number`, and so on to the end of a branch.
function lastAfter(turns, number) {
  for (let at = turns.length - 1; at > number; at--) if (pathTo(turns, at).includes(number)) return at;
  return number;
}

// The turns that are shown. Only the values of the state at their end are fetched.
async function draw() {
  const { turns } = await mapOf();
  const end = leaf ?? turns.findLastIndex((turn) => turn.active);
  const path = end < 0 ? [] : pathTo(turns, end);
  const { values } = end < 0 ? { values: {} } : await client.threads.getState(thread_id, turns[end].after);
  const contents = new Map((values.messages ?? []).map((message) => [message.id, message.content]));
  path.forEach((number, place) => {
    const { message_id, role, siblings } = turns[number];
    const pager = siblings.length > 1 ? `  < ${siblings.indexOf(number) + 1}/${siblings.length} >` : "";
    console.log(`${place} ${role}: ${contents.get(message_id)}${pager}`);
  });
  console.log("--");
}

async function obey(line) {
  const [, word, place, rest] = /^\/(edit|redo|show) (\d+) ?(.*)$/.exec(line) ?? [];
  const { turns } = await mapOf();
  const end = leaf ?? turns.findLastIndex((turn) => turn.active);
  const number = word ? pathTo(turns, end)[place] : null;
  if (word === "show") {
    leaf = lastAfter(turns, turns[number].siblings[rest - 1]);
    return;
  }
  if (word === "edit") await run(rest, turns[number].before);
  else if (word === "redo") await run(null, turns[number].before);
  else await run(line, leaf === null ? null : turns[leaf].after);
  leaf = null;
}

for await (const line of createInterface({ input: process.stdin })) {
  await obey(line);
  await draw();
}
