/** What went wrong on a thread and what it waits for, from whatever tells it. Pure. */

import type { Thread, ThreadState } from "@langchain/langgraph-sdk";
import { type Interrupted, type NodeState, type RunView, nodeStates } from "../../live/reducer";

export interface Problem {
  name: string;
  message: string;
  node: string | undefined;
}

/** Open questions: those of the state's tasks, or those of the thread's record. */
export function interruptsOf(state: ThreadState | undefined, thread: Thread | undefined): Interrupted[] {
  if (thread !== undefined && thread.status !== "interrupted") return [];
  const ofTasks = (state?.tasks ?? []).flatMap((task) => (task.interrupts ?? []) as Interrupted[]);
  return ofTasks.length > 0 ? ofTasks : (Object.values(thread?.interrupts ?? {}).flat() as Interrupted[]);
}

/** What the nodes are doing or, without a run in view, where the last one stopped. */
export function shownNodes(run: RunView | undefined, state: ThreadState | undefined): Map<string, NodeState> {
  if (run !== undefined) return nodeStates(run);
  const stopped = (state?.tasks ?? []).filter((task) => task.error || (task.interrupts ?? []).length > 0);
  return new Map(stopped.map((task) => [task.name, { running: 0, done: 0, failed: Boolean(task.error), waits: !task.error, since: undefined }]));
}

/** The failure of the run that is shown, or else of the last one, with the node that raised it. */
export function problemOf(run: RunView | undefined, state: ThreadState | undefined, thread: Thread | undefined): Problem | undefined {
  const failedTask = [...(run?.tasks.values() ?? [])].find((task) => task.error !== undefined);
  if (run?.error !== undefined) return { ...run.error, node: failedTask?.name };
  if (run?.phase === "running" || run?.phase === "pending" || thread?.status !== "error") return undefined;
  const ofState = (state?.tasks ?? []).find((task) => task.error);
  const recorded = thread.error as { error?: unknown; message?: unknown } | string | null | undefined;
  const told = typeof recorded === "object" && recorded !== null ? recorded : undefined;
  return {
    name: typeof told?.error === "string" ? told.error : "Error",
    message: typeof told?.message === "string" ? told.message : typeof recorded === "string" ? recorded : (ofState?.error ?? "The last run failed."),
    node: ofState?.name ?? failedTask?.name,
  };
}
