/** What the scripts share: the server, one test after the other, results as lines that pytest reads. */

import WebSocket from "ws";

export const apiUrl = process.argv[2];

/** As browsers do it: each message is a task of its own. `ws` hands on all that came in one piece at once, before whoever waits
 * for an answer goes on; an SDK that begins to listen when its subscription is answered then misses what follows the answer. */
export function webSocketFactory(url) {
  const socket = new WebSocket(url, { allowSynchronousEvents: false });
  const asked = new Set();
  unanswered.set(socket, asked);
  const send = socket.send.bind(socket);
  socket.send = (frame) => {
    asked.add(JSON.parse(frame).id);
    send(frame);
  };
  socket.addEventListener("message", ({ data }) => asked.delete(JSON.parse(data).id));
  socket.addEventListener("close", () => unanswered.delete(socket));
  return socket;
}

/** The ids of the commands that each open web socket has sent and that have no answer yet. */
const unanswered = new Map();

/** How often one looks, in vain, for another command of a client before it is held to have sent all. */
const LOOKS = 20;

/** Lets the run of a `held_…` graph go, once it has been made and the client has subscribed to all it wants. By web socket the
 * SDK listens no more once it has heard of a run's end: of a run that ends before the last subscription, it may never have all. */
export async function letGo(threadId) {
  await until(async () => (await (await fetch(`${apiUrl}/threads/${threadId}/runs`)).json()).length > 0);
  for (let quiet = 0; quiet < LOOKS; ) {
    await new Promise((resolve) => setTimeout(resolve, 10));
    quiet = [...unanswered.values()].every((asked) => asked.size === 0) ? quiet + 1 : 0;
  }
  const item = { namespace: ["go"], key: threadId, value: {} };
  const headers = { "content-type": "application/json" };
  const put = await fetch(`${apiUrl}/store/items`, { method: "PUT", headers, body: JSON.stringify(item) });
  if (!put.ok) throw new Error(`the run is not let go: ${await put.text()}`);
}

/** What one test may take. Far more than it needs: a machine that has much to do is no failure. */
const PATIENCE_MS = 300_000;

const tests = [];

export function test(name, body) {
  tests.push([name, body]);
}

/** Runs all tests; prints `ok NAME` or `failed NAME: why` for each, and at last that all ran. */
export async function run() {
  for (const [name, body] of tests) {
    try {
      await within(PATIENCE_MS, body());
      console.log(`ok ${name}`);
    } catch (error) {
      console.log(`failed ${name}: ${String(error?.stack ?? error).replaceAll("\n", " | ")}`);
    }
  }
  console.log(`all ${tests.length} ran`);
  process.exit(0);
}

export function within(ms, promise) {
  let timer;
  const late = new Promise((_, reject) => {
    timer = setTimeout(() => reject(new Error(`took longer than ${ms} ms`)), ms);
  });
  return Promise.race([promise, late]).finally(() => clearTimeout(timer));
}

/** Waits until `condition()` holds. */
export async function until(condition, what = String(condition)) {
  const end = Date.now() + PATIENCE_MS;
  while (Date.now() < end) {
    if (await condition()) return;
    await new Promise((resolve) => setTimeout(resolve, 10));
  }
  throw new Error(`never: ${what}`);
}

export const SAY = { messages: [{ type: "human", content: "hi you" }] };
