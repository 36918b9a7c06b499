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
  /** The message of the graph itself that it followed. */
  after: string | undefined;
}

/** Where a message of a subgraph comes from. */
export interface Nested {
  /** The task of the graph itself that runs the subgraph: `name:id`. */
  task: string;
  /** The names on the way to the subgraph. */
  path: string[];
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
 * The messages to show: those of the state, then what is being written. Messages of subgraphs follow the message that the graph had
 * last when they began, those of one task together.
 *
 * @param base the messages that the thread had when it was read last.
 */
export function shownMessages(base: Message[], run: RunView | undefined): { messages: Message[]; writing: ReadonlySet<string>; nested: ReadonlyMap<string, Nested> } {
  const writing = new Set<string>();
  const nested = new Map<string, Nested>();
  if (run === undefined) return { messages: base, writing, nested };
  const own = [...(run.messages ?? base)];
  const known = new Set(own.map((message) => message.id));
  const inner = new Map<string | undefined, Map<string, Message[]>>();
  for (const [id, draft] of run.drafts) {
    if (known.has(id)) continue;
    if (run.phase === "running" && !isWhole(run, draft)) writing.add(id);
    if (!draft.namespace) {
      own.push(draft.message);
      known.add(id);
      continue;
    }
    const names = draft.namespace.split("|");
    const task = names[0] ?? "";
    nested.set(id, { task, path: names.map((name) => name.split(":")[0] ?? "") });
    const byTask = inner.get(draft.after) ?? new Map<string, Message[]>();
    inner.set(draft.after, byTask.set(task, [...(byTask.get(task) ?? []), draft.message]));
  }
  if (inner.size === 0) return { messages: own, writing, nested };
  const messages: Message[] = [];
  for (const message of own) {
    messages.push(message);
    const key = message.id ?? undefined;
    messages.push(...[...(inner.get(key)?.values() ?? [])].flat());
    inner.delete(key);
  }
  for (const byTask of inner.values()) messages.push(...[...byTask.values()].flat());
  return { messages, writing, nested };
}

/** Whether the task that wrote a message in a subgraph has ended. */
function isWhole(run: RunView, draft: Draft): boolean {
  if (!draft.namespace) return false;
  const tasks = [...run.tasks.values()].filter((task) => task.namespace === draft.namespace && task.name === draft.node);
  return tasks.length > 0 && tasks.every((task) => task.ended !== undefined);
}

/** Milliseconds from the first task's begin to the last one's end, of a run that has ended. */
export function durationOf(run: RunView): number | undefined {
  const own = [...run.tasks.values()].filter((task) => !task.namespace);
  const [began, ended] = [own.map((task) => task.began), own.map((task) => task.ended)];
  if (own.length === 0 || run.phase === "running" || [...began, ...ended].includes(undefined)) return undefined;
  return Math.max(...(ended as number[])) - Math.min(...(began as number[]));
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
  const next = { message: isPiece ? withPiece(before?.message, message) : message, namespace, node, after: before === undefined ? lastOwn(run) : before.after };
  return { ...run, drafts: new Map(run.drafts).set(id, next) };
}

function whole(run: RunView, messages: Message[], namespace: string): RunView {
  const drafts = new Map(run.drafts);
  for (const message of messages) if (message.id) drafts.set(message.id, { message, namespace, node: "", after: drafts.get(message.id)?.after ?? lastOwn(run) });
  return { ...run, drafts };
}

/** The id of the last message of the graph itself. */
function lastOwn(run: RunView): string | undefined {
  const known = new Set(run.messages?.map((message) => message.id));
  const draft = [...run.drafts].findLast(([id, one]) => !one.namespace && !known.has(id));
  return draft?.[0] ?? run.messages?.at(-1)?.id ?? undefined;
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
