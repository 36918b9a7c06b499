/**
 * A thread's history as it is scrolled through: short rows of what was read so far, and the checkpoints themselves only of the pages
 * in view. Others are read again when they come into view.
 */

import type { ThreadState } from "@langchain/langgraph-sdk";
import { useCallback, useEffect, useReducer, useRef } from "react";
import { client } from "../../api/client";
import type { Message } from "../../live/messages";

export const PAGE = 50;
const SELECT = ["next", "tasks", "metadata", "created_at", "checkpoint", "parent_checkpoint"] as const;
/** While a run goes on, its new steps are read at most this often. */
const REFRESH_MS = 1_000;

export interface Step {
  id: string;
  step: string;
  source: string;
  /** The nodes that wrote it, the channels they wrote, and the tokens that they tell of. */
  nodes: string[];
  changed: string[];
  tokens: number;
  errors: string[];
  waits: boolean;
  next: string[];
  /** Milliseconds since the checkpoint before. */
  took: number | undefined;
  at: string;
}

export interface History {
  steps: Step[] | undefined;
  /** The checkpoint of a step; undefined while it is read. */
  state: (id: string) => ThreadState | undefined;
  more: boolean;
  error: unknown;
  loadMore: () => void;
  /** Tells which steps are in view, so that their checkpoints are kept and no others; and whether those are read again that were not kept. */
  show: (first: string | undefined, last: string | undefined, again: boolean) => void;
}

/** A row of each checkpoint but those that only follow the page: a checkpoint was written by the tasks that its parent had planned. */
export function stepsOf(states: ThreadState[], following: ThreadState | undefined): Step[] {
  const byId = new Map([...states, ...(following ? [following] : [])].map((state) => [state.checkpoint.checkpoint_id, state]));
  return states.map((state) => stepOf(state, byId.get(state.parent_checkpoint?.checkpoint_id ?? "")));
}

function stepOf(state: ThreadState, parent: ThreadState | undefined): Step {
  const { step, source } = (state.metadata ?? {}) as { step?: number; source?: string };
  const written = source === "loop" ? (parent?.tasks ?? []) : [];
  const results = written.map((task) => (task as { result?: unknown }).result).filter((result) => typeof result === "object" && result !== null);
  const at = Date.parse(state.created_at ?? "");
  const before = Date.parse(parent?.created_at ?? "");
  return {
    id: state.checkpoint.checkpoint_id ?? "",
    step: step === undefined ? "" : String(step),
    source: source ?? "",
    nodes: [...new Set(written.map((task) => task.name))],
    changed: [...new Set(results.flatMap((result) => Object.keys(result)))],
    tokens: results.flatMap(messagesIn).reduce((sum, message) => sum + (message.usage_metadata?.total_tokens ?? 0), 0),
    errors: state.tasks.filter((task) => task.error).map((task) => task.name),
    waits: state.tasks.some((task) => (task.interrupts ?? []).length > 0),
    next: state.next,
    took: Number.isNaN(at - before) ? undefined : at - before,
    at: state.created_at ?? "",
  };
}

function messagesIn(result: object): Message[] {
  const { messages } = result as { messages?: unknown };
  const list: unknown[] = Array.isArray(messages) ? messages : [messages];
  return list.filter((one): one is Message => typeof one === "object" && one !== null);
}

interface Loaded {
  steps?: Step[];
  /** Where each page begins: its first step, and the checkpoint that it was asked before. */
  pages: { first: string; before: string | undefined }[];
  states: Map<string, ThreadState[]>;
  more: boolean;
  error?: unknown;
  reading: boolean;
}

/**
 * The history of a thread, the newest first.
 *
 * @param head the newest checkpoint: when it changes, what is new is read.
 * @param tick changes when a run that goes on has ended a step.
 */
export function useHistory(threadId: string, head: string, tick: number): History {
  const [, changed] = useReducer((count: number) => count + 1, 0);
  const loaded = useRef<Loaded>({ pages: [], states: new Map(), more: false, reading: false });

  const page = useCallback(
    async (before: string | undefined, signal?: AbortSignal) => {
      // One more than a page: the parent of the page's last checkpoint.
      const read = await client.threads.getHistory(threadId, {
        limit: PAGE + 1,
        select: [...SELECT] as never,
        ...(before ? { before: { configurable: { checkpoint_id: before } } as never } : {}),
        ...(signal ? { signal } : {}),
      });
      const states = read.slice(0, PAGE);
      return { states, steps: stepsOf(states, read[PAGE]), more: read.length > PAGE };
    },
    [threadId],
  );

  /** Reads the newest page, and puts what is new before what is known. */
  const refresh = useCallback(
    async (signal: AbortSignal) => {
      const into = loaded.current;
      try {
        const { states, steps, more } = await page(undefined, signal);
        const known = new Set(into.steps?.map(({ id }) => id));
        const meets = steps.findIndex(({ id }) => known.has(id));
        const first = states[0]?.checkpoint.checkpoint_id ?? "";
        if (into.steps !== undefined && meets >= 0) {
          const fresh = new Map(steps.map((step) => [step.id, step]));
          into.steps = [...steps.slice(0, meets), ...into.steps.map((step) => fresh.get(step.id) ?? step)];
          // The pages below stay where they are: they are found by their own first steps.
          if (meets > 0) into.pages = [{ first, before: undefined }, ...into.pages.map((one) => (one.before === undefined ? { ...one, before: steps[meets - 1]?.id } : one))];
        } else {
          into.steps = steps;
          into.pages = [{ first, before: undefined }];
          into.more = more;
          into.states.clear();
        }
        into.states.set(first, states);
        delete into.error;
      } catch (error) {
        if (signal.aborted) return;
        into.error = error;
      }
      changed();
    },
    [page],
  );

  const soon = useRef<ReturnType<typeof setTimeout>>(undefined);
  useEffect(() => {
    const stop = new AbortController();
    void refresh(stop.signal);
    return () => stop.abort();
  }, [head, refresh]);
  useEffect(() => {
    if (tick === 0 || soon.current !== undefined) return;
    soon.current = setTimeout(() => {
      soon.current = undefined;
      void refresh(new AbortController().signal);
    }, REFRESH_MS);
  }, [tick, refresh]);
  useEffect(() => () => clearTimeout(soon.current), []);

  const loadMore = useCallback(async () => {
    const into = loaded.current;
    const before = into.steps?.at(-1)?.id;
    if (into.reading || !into.more || before === undefined) return;
    into.reading = true;
    try {
      const { states, steps, more } = await page(before);
      const first = steps[0]?.id ?? "";
      into.steps = [...(into.steps ?? []), ...steps];
      into.pages.push({ first, before });
      into.states.set(first, states);
      into.more = more && steps.length > 0;
      delete into.error;
    } catch (error) {
      into.error = error;
      into.more = false;
    }
    into.reading = false;
    changed();
  }, [page]);

  const show = useCallback(
    (first: string | undefined, last: string | undefined, again: boolean) => {
      const into = loaded.current;
      const places = new Map(into.steps?.map(({ id }, index) => [id, index]));
      const starts = into.pages.map((one) => places.get(one.first) ?? 0);
      const [from, to] = [places.get(first ?? "") ?? 0, places.get(last ?? "") ?? 0];
      const wanted = into.pages.filter((_, index) => (starts[index] ?? 0) <= to && (starts[index + 1] ?? Infinity) > from);
      const kept = new Set(wanted.map((one) => one.first));
      for (const key of into.states.keys()) if (!kept.has(key)) into.states.delete(key);
      for (const one of again ? wanted : []) {
        if (into.states.has(one.first)) continue;
        into.states.set(one.first, []);
        page(one.before).then(
          ({ states }) => {
            if (into.states.has(one.first)) into.states.set(one.first, states);
            changed();
          },
          () => into.states.delete(one.first),
        );
      }
    },
    [page],
  );

  const { steps, more, error, states } = loaded.current;
  return {
    steps,
    state: (id) => {
      for (const page of states.values()) for (const state of page) if (state.checkpoint.checkpoint_id === id) return state;
      return undefined;
    },
    more,
    error,
    loadMore: () => void loadMore(),
    show,
  };
}
