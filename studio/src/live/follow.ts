/**
 * Follows a thread: reads its state, sees each run that begins on it, whoever started it, and joins the run's stream. After a lost
 * connection it goes on behind the last event that it saw. A hidden tab follows nothing, so that many tabs do not use up the
 * browser's connections to one server; it catches up when it is shown again.
 */

import type { Run, Thread, ThreadState } from "@langchain/langgraph-sdk";
import { client, statusOf } from "../api/client";
import { type RunView, type StreamedEvent, newRun, reduceAll } from "./reducer";

export interface Followed {
  thread: Thread | undefined;
  state: ThreadState | undefined;
  run: RunView | undefined;
  /** Runs that wait behind the one that is shown. */
  queued: number;
  error: unknown;
}

export const STREAM_MODES = ["values", "messages-tuple", "tasks", "custom"] as const;
/** From the first stored event. */
const FROM_START = "-1";
const RETRY_MS = [300, 1_000, 2_000, 5_000];

export class Follower {
  current: Followed = { thread: undefined, state: undefined, run: undefined, queued: 0, error: undefined };
  private stop = new AbortController();
  private following: string | undefined;
  private pending: StreamedEvent[] = [];
  private frame: number | undefined;

  constructor(
    readonly threadId: string,
    private readonly changed: () => void,
  ) {}

  start(): void {
    document.addEventListener("visibilitychange", this.onVisibility);
    if (!document.hidden) this.begin();
  }

  end(): void {
    document.removeEventListener("visibilitychange", this.onVisibility);
    this.stop.abort();
    this.cancelFrame();
  }

  /** Reads the thread again, and joins the run that is under way. */
  async refresh(): Promise<void> {
    const { signal } = this.stop;
    try {
      const [thread, state, active] = await Promise.all([
        client.threads.get(this.threadId, { signal }),
        client.threads.getState(this.threadId, undefined, { signal }).catch(missing),
        this.activeRuns(),
      ]);
      if (signal.aborted) return;
      const first = active[0];
      const ended = first === undefined && this.following === undefined;
      this.set({
        thread,
        state,
        queued: Math.max(0, active.length - 1),
        error: undefined,
        ...(ended ? { run: keptAfterEnd(this.current.run) } : {}),
      });
      if (first !== undefined) void this.join(first.run_id, first.status === "pending");
      else if (ended && thread.status === "busy") {
        // The run ended between the reads: the record is of the moment before.
        await delay(RETRY_MS[1] ?? 0, signal);
        if (!signal.aborted && this.following === undefined) await this.refresh();
      }
    } catch (error) {
      if (!signal.aborted) this.set({ error });
    }
  }

  /** Shows a run that this page started, before the server tells of it. */
  async join(runId: string, isPending: boolean): Promise<void> {
    if (this.following === runId) return;
    if (this.following !== undefined) return; // when that run has ended, the next one is joined
    this.following = runId;
    const { signal } = this.stop;
    const before = this.current.run;
    if (before?.runId !== runId || before.phase === "ended") this.set({ run: newRun(runId, isPending ? "pending" : "running") });
    for (let attempt = 0; !signal.aborted; attempt++) {
      try {
        const lastEventId = this.current.run?.lastId ?? FROM_START;
        const events = client.runs.joinStream(this.threadId, runId, { lastEventId, signal });
        for await (const event of events) this.add(event as StreamedEvent);
        this.flush();
        const { status } = await client.runs.get(this.threadId, runId, { signal });
        if (status !== "pending" && status !== "running") break;
      } catch (error) {
        if (signal.aborted || statusOf(error) === 404) break;
      }
      await delay(RETRY_MS[Math.min(attempt, RETRY_MS.length - 1)] ?? 0, signal);
    }
    this.flush();
    this.following = undefined;
    if (signal.aborted) return;
    if (this.current.run?.phase !== "failed") this.set({ run: { ...(this.current.run ?? newRun(runId)), phase: "ended" } });
    await this.refresh();
  }

  private readonly onVisibility = () => {
    if (document.hidden) {
      this.stop.abort();
      this.flush();
    } else this.begin();
  };

  private begin(): void {
    this.stop = new AbortController();
    this.following = undefined;
    void this.refresh();
    void this.watch(this.stop.signal);
  }

  /** Learns of runs and state updates by others. */
  private async watch(signal: AbortSignal): Promise<void> {
    for (let attempt = 0; !signal.aborted; attempt++) {
      try {
        const events = client.threads.joinStream(this.threadId, { streamMode: ["lifecycle", "state_update"], signal });
        for await (const event of events) {
          attempt = 0;
          if (event.event === ("state_update" as string)) await this.refresh();
          const runId = (event.data as { run_id?: unknown } | null)?.run_id;
          const status = (event.data as { status?: unknown } | null)?.status;
          if (typeof runId === "string" && status === undefined) void this.join(runId, false);
        }
      } catch (error) {
        if (statusOf(error) === 404) return;
      }
      await delay(RETRY_MS[Math.min(attempt, RETRY_MS.length - 1)] ?? 0, signal);
      if (!signal.aborted && attempt > 0) await this.refresh();
    }
  }

  private async activeRuns(): Promise<Run[]> {
    const { signal } = this.stop;
    const lists = await Promise.all(
      (["running", "pending"] as const).map((status) => client.runs.list(this.threadId, { status, limit: 100, signal })),
    );
    return lists.flatMap((list) => list.sort((a, b) => a.created_at.localeCompare(b.created_at)));
  }

  private add(event: StreamedEvent): void {
    this.pending.push(event);
    // One drawing for all events that come within a frame.
    this.frame ??= requestAnimationFrame(() => this.flush());
  }

  private flush(): void {
    this.cancelFrame();
    if (this.pending.length === 0 || this.current.run === undefined) return;
    const events = this.pending.splice(0);
    this.set({ run: reduceAll(this.current.run, events) });
  }

  private cancelFrame(): void {
    if (this.frame !== undefined) cancelAnimationFrame(this.frame);
    this.frame = undefined;
  }

  private set(changes: Partial<Followed>): void {
    this.current = { ...this.current, ...changes };
    this.changed();
  }
}

/** Of a run that has ended the state has all messages but those of subgraphs, which stay in view until the next run, as do its tasks and its error. */
function keptAfterEnd(run: RunView | undefined): RunView | undefined {
  if (run === undefined) return undefined;
  return { ...run, phase: run.phase === "failed" ? "failed" : "ended", messages: undefined, values: undefined, drafts: new Map([...run.drafts].filter(([, draft]) => draft.namespace)) };
}

/** A thread on which no graph has run has no state. */
function missing(error: unknown): undefined {
  const status = statusOf(error);
  if (status === 404 || status === 422 || status === 409 || status === 400) return undefined;
  throw error;
}

function delay(ms: number, signal: AbortSignal): Promise<void> {
  return new Promise((done) => {
    const timer = setTimeout(done, ms);
    signal.addEventListener("abort", () => {
      clearTimeout(timer);
      done();
    });
  });
}
