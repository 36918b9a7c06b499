/** The events of a run, made into what a page shows of the run. Pure: the same events give the same view. */

import { type Message, messagesOf, withMessages, withPiece } from "./messages";

export interface StreamedEvent {
  id?: string;
  /** The mode; behind a `|` the namespace of a subgraph. */
  event: string;
  data: unknown;
}

export interface Interrupted {
  id?: string;
  value?: unknown;
  response_schema?: Record<string, unknown>;
}

export interface TaskView {
  id: string;
  name: string;
  /** The namespace of the subgraph that it runs in; empty for the graph itself. */
  namespace: string;
  /** Milliseconds since 1970, by the server's clock. */
  began: number | undefined;
  ended: number | undefined;
  error: string | undefined;
  interrupts: Interrupted[];
  result: unknown;
}

/** A message that is being written, or was written in a subgraph. */
export interface Draft {
  message: Message;
  namespace: string;
  node: string;
}

export interface RunView {
  runId: string;
  attempt: number;
  phase: "pending" | "running" | "ended" | "failed";
  lastId: string | undefined;
  /** The state, and the messages of it with what nodes wrote since; undefined until an event told them. */
  values: Record<string, unknown> | undefined;
  messages: Message[] | undefined;
  drafts: ReadonlyMap<string, Draft>;
  tasks: ReadonlyMap<string, TaskView>;
  custom: { id: string; namespace: string; data: unknown }[];
  error: { name: string; message: string } | undefined;
}

export function newRun(runId: string, phase: RunView["phase"] = "pending"): RunView {
  return {
    runId,
    attempt: 1,
    phase,
    lastId: undefined,
    values: undefined,
    messages: undefined,
    drafts: new Map(),
    tasks: new Map(),
    custom: [],
    error: undefined,
  };
}

/** The view after one more event. An event that was seen already changes nothing. */
export function reduce(run: RunView, event: StreamedEvent): RunView {
  if (event.id !== undefined && run.lastId !== undefined && !isLater(event.id, run.lastId)) return run;
  const seen: RunView = { ...run, phase: run.phase === "pending" ? "running" : run.phase, lastId: event.id ?? run.lastId };
  const [mode = "", ...names] = event.event.split("|");
  const namespace = names.join("|");
  switch (mode) {
    case "metadata":
      return metadata(seen, event.data as { attempt?: number; run_id?: string });
    case "values":
      return namespace ? seen : values(seen, event.data);
    case "updates":
      return namespace ? seen : updates(seen, event.data);
    case "messages":
      return piece(seen, event.data as [Message, Record<string, unknown>], namespace);
    case "messages/partial":
    case "messages/complete":
      return whole(seen, event.data as Message[], namespace);
    case "tasks":
      return task(seen, event.data as TaskEvent, namespace, timeOf(event.id));
    case "custom":
      return { ...seen, custom: [...seen.custom, { id: event.id ?? String(seen.custom.length), namespace, data: event.data }] };
    case "error":
      return failed(seen, event.data as { error?: unknown; message?: unknown });
    default:
      return seen;
  }
}

export function reduceAll(run: RunView, events: Iterable<StreamedEvent>): RunView {
  for (const event of events) run = reduce(run, event);
  return run;
}

/**
 * The messages to show: those of the state, then what is being written.
 *
 * @param base the messages that the thread had when it was read last.
 */
export function shownMessages(base: Message[], run: RunView | undefined): { messages: Message[]; writing: ReadonlySet<string>; nested: ReadonlyMap<string, string> } {
  if (run === undefined) return { messages: base, writing: new Set(), nested: new Map() };
  const messages = [...(run.messages ?? base)];
  const known = new Set(messages.map((message) => message.id));
  const writing = new Set<string>();
  const nested = new Map<string, string>();
  for (const [id, draft] of run.drafts) {
    if (known.has(id)) continue;
    messages.push(draft.message);
    if (run.phase === "running") writing.add(id);
    if (draft.namespace) nested.set(id, draft.namespace.split("|").map((name) => name.split(":")[0]).join(" › "));
  }
  return { messages, writing, nested };
}

/** Milliseconds since 1970 of an event, by its id. */
export function timeOf(id: string | undefined): number | undefined {
  const ms = Number(id?.split("-")[0]);
  return Number.isFinite(ms) && ms > 0 ? ms : undefined;
}

/** What the nodes of a graph are doing, for its picture. */
export interface NodeState {
  running: number;
  done: number;
  failed: boolean;
  waits: boolean;
  /** When the oldest running task began. */
  since: number | undefined;
}

export function nodeStates(run: RunView | undefined): Map<string, NodeState> {
  const states = new Map<string, NodeState>();
  for (const one of run?.tasks.values() ?? []) {
    const path = [...one.namespace.split("|").filter(Boolean).map((name) => name.split(":")[0] ?? ""), one.name].join(":");
    const state = states.get(path) ?? { running: 0, done: 0, failed: false, waits: false, since: undefined };
    if (one.error !== undefined) state.failed = true;
    else if (one.interrupts.length > 0) state.waits = true;
    else if (one.ended !== undefined) state.done += 1;
    else if (run?.phase === "running") {
      state.running += 1;
      state.since ??= one.began;
    }
    states.set(path, state);
  }
  return states;
}

interface TaskEvent {
  id: string;
  name: string;
  triggers?: unknown;
  error?: string | null;
  result?: unknown;
  interrupts?: Interrupted[];
}

function metadata(run: RunView, data: { attempt?: number; run_id?: string }): RunView {
  const attempt = data.attempt ?? run.attempt;
  if (attempt === run.attempt) return run;
  // What an attempt before wrote and did not finish is written again.
  const tasks = new Map([...run.tasks].filter(([, one]) => one.ended !== undefined && one.error === undefined));
  return { ...run, attempt, drafts: new Map(), tasks, error: undefined };
}

function values(run: RunView, data: unknown): RunView {
  if (typeof data !== "object" || data === null) return run;
  const state = data as Record<string, unknown>;
  const written = state["__interrupt__"] !== undefined && !("messages" in state) && run.messages !== undefined;
  return { ...run, values: state, messages: written ? run.messages : messagesOf(state) };
}

function updates(run: RunView, data: unknown): RunView {
  if (run.messages === undefined || typeof data !== "object" || data === null) return run;
  let messages = run.messages;
  for (const written of Object.values(data)) {
    const updates: unknown[] = Array.isArray(written) ? (written as unknown[]) : [written];
    for (const update of updates) messages = withMessages(messages, asMessages(update));
  }
  return { ...run, messages };
}

function asMessages(update: unknown): Message[] {
  const written = (update as { messages?: unknown } | null)?.messages;
  if (Array.isArray(written)) return messagesOf(update);
  return typeof written === "object" && written !== null ? [written as Message] : [];
}

function piece(run: RunView, data: [Message, Record<string, unknown>], namespace: string): RunView {
  if (!Array.isArray(data)) return run;
  const [message, about] = data;
  const id = message?.id;
  if (!id) return run;
  const node = typeof about?.["langgraph_node"] === "string" ? about["langgraph_node"] : "";
  const before = run.drafts.get(id);
  const isPiece = message.type?.endsWith("Chunk") ?? false;
  const next = { message: isPiece ? withPiece(before?.message, message) : message, namespace, node };
  return { ...run, drafts: new Map(run.drafts).set(id, next) };
}

function whole(run: RunView, messages: Message[], namespace: string): RunView {
  const drafts = new Map(run.drafts);
  for (const message of messages) if (message.id) drafts.set(message.id, { message, namespace, node: "" });
  return { ...run, drafts };
}

function task(run: RunView, data: TaskEvent, namespace: string, time: number | undefined): RunView {
  const before = run.tasks.get(data.id);
  const begins = data.triggers !== undefined;
  const after: TaskView = {
    id: data.id,
    name: data.name,
    namespace,
    began: begins ? time : before?.began,
    ended: begins ? undefined : time,
    error: data.error ?? undefined,
    interrupts: data.interrupts ?? [],
    result: data.result,
  };
  return { ...run, tasks: new Map(run.tasks).set(data.id, after) };
}

function failed(run: RunView, data: { error?: unknown; message?: unknown }): RunView {
  const name = typeof data?.error === "string" ? data.error : "Error";
  return { ...run, phase: "failed", error: { name, message: typeof data?.message === "string" ? data.message : "" } };
}

/** Event ids are `<milliseconds>-<number>`, and grow. Ids of any other form are taken as new. */
function isLater(id: string, than: string): boolean {
  const [ms, count] = id.split("-").map(Number);
  const [msBefore, countBefore] = than.split("-").map(Number);
  if ([ms, count, msBefore, countBefore].some((part) => part === undefined || Number.isNaN(part))) return true;
  return ms! > msBefore! || (ms === msBefore && count! > countBefore!);
}
