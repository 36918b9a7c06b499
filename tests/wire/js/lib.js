/** What the scripts share: the server, one test after the other, results as lines that pytest reads. */

import WebSocket from "ws";

export const apiUrl = process.argv[2];

/** As browsers do it: each message is a task of its own. `ws` hands on all that came in one piece at once, before whoever waits
 * for an answer goes on; an SDK that begins to listen when its subscription is answered then misses what follows the answer. */
export const webSocketFactory = (url) => new WebSocket(url, { allowSynchronousEvents: false });

/** What one test may take. Far more than it needs: a machine that has much to do is no failure. */
const PATIENCE_MS = 120_000;

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
