/** Answers of the server, kept by a key, so that going back to a page shows at once what was there. */

import { useCallback, useEffect, useReducer, useRef } from "react";

interface Entry {
  data?: unknown;
  error?: unknown;
  loading: boolean;
  listeners: Set<() => void>;
  /** How it was asked for last. */
  ask?: () => Promise<unknown>;
}

export interface Answer<T> {
  data: T | undefined;
  error: unknown;
  loading: boolean;
  reload: () => void;
}

const entries = new Map<string, Entry>();
/** Beyond this many, the oldest answers that nobody shows are forgotten. Some of them are whole states. */
const MOST = 60;

function entryOf(key: string): Entry {
  let entry = entries.get(key);
  if (entry === undefined) {
    entry = { loading: false, listeners: new Set() };
    entries.set(key, entry);
    if (entries.size > MOST) forgetOldest();
  }
  return entry;
}

function forgetOldest(): void {
  for (const [key, entry] of entries) {
    if (entries.size <= MOST / 2) break;
    if (entry.listeners.size === 0 && !entry.loading) entries.delete(key);
  }
}

async function load(entry: Entry, ask: () => Promise<unknown>): Promise<void> {
  if (entry.loading) return;
  entry.loading = true;
  entry.ask = ask;
  try {
    entry.data = await ask();
    entry.error = undefined;
  } catch (error) {
    entry.error = error;
  }
  entry.loading = false;
  for (const listener of entry.listeners) listener();
}

/**
 * An answer of the server, asked for when the component appears.
 *
 * @param key names the answer; null asks for nothing.
 * @param pollMs asks again this often, while the tab is visible.
 */
export function useQuery<T>(key: string | null, ask: () => Promise<T>, pollMs?: number): Answer<T> {
  const [, changed] = useReducer((count: number) => count + 1, 0);
  const latest = useRef(ask);
  latest.current = ask;
  const entry = key === null ? null : entryOf(key);
  const reload = useCallback(() => {
    if (key !== null) void load(entryOf(key), () => latest.current());
  }, [key]);

  useEffect(() => {
    if (key === null) return;
    const entry = entryOf(key);
    entry.listeners.add(changed);
    reload();
    const timer = pollMs === undefined ? undefined : setInterval(() => document.hidden || reload(), pollMs);
    return () => {
      entry.listeners.delete(changed);
      clearInterval(timer);
    };
  }, [key, pollMs, reload]);

  return {
    data: entry?.data as T | undefined,
    error: entry?.error,
    loading: entry !== null && entry.data === undefined && entry.error === undefined,
    reload,
  };
}

/** Forgets all answers, for another caller must not see them. Those that are shown are asked for again. */
export function forgetAll(): void {
  for (const entry of entries.values()) {
    delete entry.data;
    delete entry.error;
    for (const listener of entry.listeners) listener();
    if (entry.listeners.size > 0 && entry.ask !== undefined) void load(entry, entry.ask);
  }
}
