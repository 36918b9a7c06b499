import { describe, expect, test } from "vitest";
import { messagesOf, turnsOf, withMessages, withPiece } from "../src/live/messages";
import { type StreamedEvent, newRun, nodeStates, reduce, reduceAll, shownMessages } from "../src/live/reducer";

const human = { id: "h1", type: "human", content: "hello" };

function piece(id: string, content: string, messageId = "m1", event = "messages"): StreamedEvent {
  return { id, event, data: [{ id: messageId, type: "AIMessageChunk", content }, { langgraph_node: "answer" }] };
}

const EVENTS: StreamedEvent[] = [
  { id: "1000-0", event: "metadata", data: { run_id: "r", attempt: 1 } },
  { id: "1000-1", event: "values", data: { messages: [human] } },
  { id: "1001-0", event: "tasks", data: { id: "t1", name: "answer", triggers: ["branch:to:answer"], input: {} } },
  piece("1002-0", "You"),
  piece("1002-1", " said"),
  piece("1003-0", " hello"),
];
const END: StreamedEvent[] = [
  { id: "1500-0", event: "tasks", data: { id: "t1", name: "answer", error: null, result: {}, interrupts: [] } },
  { id: "1500-1", event: "values", data: { messages: [human, { id: "m1", type: "ai", content: "You said hello" }] } },
];

function texts(base: unknown[], run = reduceAll(newRun("r"), EVENTS)) {
  return shownMessages(messagesOf({ messages: base }), run).messages.map((message) => message.content);
}

describe("a run's view", () => {
  test("puts the pieces of a message together, behind the state's messages", () => {
    expect(texts([])).toEqual(["hello", "You said hello"]);
  });

  test("is the same when events are replayed", () => {
    const once = reduceAll(newRun("r"), EVENTS);
    expect(reduceAll(once, EVENTS)).toEqual(once);
    expect(reduceAll(once, [...EVENTS, ...END])).toEqual(reduceAll(newRun("r"), [...EVENTS, ...END]));
  });

  test("of a replay from the start shows no piece twice when the thread has the message already", () => {
    const stored = [human, { id: "m1", type: "ai", content: "You said hello" }];
    expect(texts(stored, reduceAll(newRun("r"), [...EVENTS, ...END]))).toEqual(["hello", "You said hello"]);
  });

  test("replaces what was written by the message of the state", () => {
    const run = reduceAll(newRun("r"), [...EVENTS, ...END]);
    expect(shownMessages([], run).writing.size).toBe(0);
    expect(texts([], run)).toEqual(["hello", "You said hello"]);
  });

  test("begins what was not finished anew with another attempt", () => {
    const run = reduceAll(newRun("r"), [...EVENTS, { id: "1004-0", event: "metadata", data: { attempt: 2 } }, piece("1005-0", "Again", "m2")]);
    expect([run.attempt, texts([], run)]).toEqual([2, ["hello", "Again"]]);
  });

  test("shows messages of subgraphs with where they come from", () => {
    const run = reduceAll(newRun("r"), [...EVENTS, piece("1004-0", "nested", "m9", "messages|researcher:123|model:456")]);
    expect([...shownMessages([], run).nested]).toEqual([["m9", { task: "researcher:123", path: ["researcher", "model"] }]]);
  });

  test("keeps messages of subgraphs together by task, behind the message that they followed", () => {
    const call = { id: "c", type: "ai", content: "" };
    const run = reduceAll(newRun("r"), [
      { id: "1-0", event: "values", data: { messages: [human, call] } },
      piece("2-0", "a1", "a1", "messages|tools:1"),
      piece("2-1", "b1", "b1", "messages|tools:2"),
      piece("2-2", "a2", "a2", "messages|tools:1"),
      piece("3-0", "end", "e"),
      { id: "4-0", event: "values", data: { messages: [human, call, { id: "e", type: "ai", content: "end" }] } },
    ]);
    expect(shownMessages([], run).messages.map(({ id }) => id)).toEqual(["h1", "c", "a1", "a2", "b1", "e"]);
  });

  test("tells the state of nodes with the server's times", () => {
    expect(nodeStates(reduceAll(newRun("r", "running"), EVENTS)).get("answer")).toMatchObject({ running: 1, done: 0, since: 1001 });
    expect(nodeStates(reduceAll(newRun("r"), [...EVENTS, ...END])).get("answer")).toMatchObject({ running: 0, done: 1 });
  });

  test("has the failure and the node that raised it", () => {
    const run = reduceAll(newRun("r"), [
      ...EVENTS,
      { id: "1400-0", event: "tasks", data: { id: "t1", name: "answer", error: "ValueError('no')" } },
      { id: "1400-1", event: "error", data: { error: "ValueError", message: "no" } },
    ]);
    expect([run.phase, run.error, nodeStates(run).get("answer")?.failed]).toEqual(["failed", { name: "ValueError", message: "no" }, true]);
  });

  test("takes what nodes wrote when the stream has updates and no values", () => {
    const run = reduce({ ...newRun("r"), messages: [human] }, { id: "1-0", event: "updates", data: { answer: { messages: [{ id: "m1", type: "ai", content: "yes" }] } } });
    expect(run.messages?.map((message) => message.content)).toEqual(["hello", "yes"]);
  });

  test("passes over events that it does not know", () => {
    expect(reduce(newRun("r"), { id: "1-0", event: "new-mode|a:1", data: null })).toMatchObject({ lastId: "1-0", phase: "running" });
  });
});

describe("messages", () => {
  test("a call written in pieces has its arguments as text until it is whole", () => {
    const first = { id: "m", type: "AIMessageChunk", content: "", tool_call_chunks: [{ name: "lookup", id: "c1", index: 0, args: '{"or' }] };
    const rest = { id: "m", type: "AIMessageChunk", content: "", tool_call_chunks: [{ index: 0, args: 'der": 1}' }] };
    expect(withPiece(first, rest).tool_call_chunks).toEqual([{ name: "lookup", id: "c1", index: 0, args: '{"order": 1}' }]);
  });

  test("text blocks of one index grow together", () => {
    const block = (text: string, index = 0) => ({ id: "m", type: "AIMessageChunk", content: [{ type: "text", text, index }] });
    expect(withPiece(withPiece(block("a"), block("b")), block("c", 1)).content).toEqual([
      { type: "text", text: "ab", index: 0 },
      { type: "text", text: "c", index: 1 },
    ]);
  });

  test("written messages replace those of the same id, and remove", () => {
    const after = withMessages([human, { id: "a", type: "ai", content: "x" }], [{ id: "h1", type: "human", content: "edited" }, { id: "a", type: "remove" }]);
    expect(after).toEqual([{ id: "h1", type: "human", content: "edited" }]);
  });

  test("a turn holds calls with their results until the next human message", () => {
    const turns = turnsOf([
      human,
      { id: "a", type: "ai", content: "", tool_calls: [{ id: "c1", name: "lookup", args: {} }] },
      { id: "t", type: "tool", tool_call_id: "c1", content: "found" },
      { id: "b", type: "ai", content: "done" },
      { id: "h2", type: "human", content: "thanks" },
    ]);
    expect(turns.map((turn) => [turn.role, turn.parts.length])).toEqual([
      ["human", 1],
      ["ai", 2],
      ["human", 1],
    ]);
    expect(turns[1]?.parts[0]?.calls[0]?.result?.content).toBe("found");
  });
});
