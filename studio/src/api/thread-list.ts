/**
 * The list of threads: rows fetched in pages as they come into view, or, while words are searched for or a time is set, all rows
 * read one page after the other and kept where they match. No values are asked for: of each thread only its title.
 */

import type { Metadata, Thread, ThreadStatus } from "@langchain/langgraph-sdk";
import { useCallback, useEffect, useReducer, useRef } from "react";
import { titleOf } from "../parts/format";
import { client } from "./client";
import type { ForkedFrom } from "./extras";

const PAGE = 100;
const SCANNED = 500;
const REFRESH_MS = 5_000;
const LEAST_OF_ID = 6;

export interface ThreadRow {
  id: string;
  status: string;
  title: string;
  graph: string;
  updated: string;
  forkedFrom: ForkedFrom | undefined;
  metadata: Metadata;
}

export interface ThreadFilter {
  status: string;
  graph: string;
  /** The words of the search field; `key=value` among them filters by metadata. */
  text: string;
  /** Only threads that changed in the last so many hours; 0 for all. */
  hours: number;
}

export interface ThreadList {
  /** How many rows there are; undefined until it is known. */
  total: number | undefined;
  /** Whether all rows were counted; before, `total` is that of the rows that were read. */
  isCounted: boolean;
  /** Undefined while the row is on its way. */
  row: (index: number) => ThreadRow | undefined;
  /** Tells which rows are in view. */
  show: (first: number, last: number) => void;
  error: unknown;
  /** Of a search: how many threads were read so far, of how many. */
  read: { done: number; of: number } | undefined;
  reload: () => void;
}

/** The words of a search text, and what it says of metadata. */
export function parseSearch(text: string): { words: string[]; metadata: Record<string, unknown> } {
  const words: string[] = [];
  const metadata: Record<string, unknown> = {};
  for (const part of text.split(/\s+/).filter(Boolean)) {
    const [, key, value] = /^([^=]+)=(.+)$/.exec(part) ?? [];
    if (key === undefined || value === undefined) words.push(part.toLowerCase());
    else metadata[key] = valueOf(value);
  }
  return { words, metadata };
}

export function rowOf(thread: Partial<Thread> & { thread_id: string; forked_from?: ForkedFrom }): ThreadRow {
  const metadata = thread.metadata ?? {};
  return {
    id: thread.thread_id,
    status: thread.status ?? "idle",
    title: titleOf(metadata, thread.extracted?.["first"]),
    graph: typeof metadata?.["graph_id"] === "string" ? metadata["graph_id"] : "",
    updated: thread.updated_at ?? "",
    forkedFrom: thread.forked_from,
    metadata,
  };
}

/** Whether all words are found in a row's title, graph or metadata, or (words as long as the end of an id) in its id. */
export function matches(row: ThreadRow, words: string[]): boolean {
  if (words.length === 0) return true;
  const { assistant_id, ...metadata } = row.metadata ?? {};
  const text = `${row.title}\n${row.graph}\n${JSON.stringify(metadata)}`.toLowerCase();
  return words.every((word) => text.includes(word) || (word.length >= LEAST_OF_ID && row.id.includes(word)));
}

interface Loaded {
  total?: number;
  isCounted: boolean;
  rows: (ThreadRow | undefined)[];
  error?: unknown;
  read?: { done: number; of: number };
  view: [number, number];
  asked: Set<number>;
}

const kept = new Map<string, Loaded>();

export function useThreadList(filter: ThreadFilter, withForks: boolean): ThreadList {
  const [, changed] = useReducer((count: number) => count + 1, 0);
  const key = JSON.stringify([filter, withForks]);
  let loaded = kept.get(key);
  if (loaded === undefined) {
    kept.clear();
    loaded = { isCounted: false, rows: [], view: [0, PAGE - 1], asked: new Set() };
    kept.set(key, loaded);
  }
  const current = useRef(loaded);
  current.current = loaded;
  const { words, metadata } = parseSearch(filter.text);
  const scans = words.length > 0 || filter.hours > 0;
  const latest = useRef({ filter, metadata, words, withForks });
  latest.current = { filter, metadata, words, withForks };

  const search = useCallback(async (limit: number, offset: number, signal?: AbortSignal): Promise<ThreadRow[]> => {
    const { filter, metadata, withForks } = latest.current;
    const select = ["thread_id", "status", "metadata", "updated_at", ...(withForks ? ["forked_from"] : [])];
    const threads = await client.threads.search({
      ...query(filter, metadata),
      limit,
      offset,
      sortBy: "updated_at",
      sortOrder: "desc",
      select: select as never,
      extract: { first: "values.messages[0].content" },
      ...(signal ? { signal } : {}),
    });
    return threads.map(rowOf);
  }, []);

  /** Fetches the pages in view that were not asked for yet. */
  const fetchPages = useCallback(
    async (into: Loaded): Promise<void> => {
      await Promise.all(
        pagesOf(into.view)
          .filter((page) => !into.asked.has(page))
          .map(async (page) => {
            into.asked.add(page);
            try {
              const rows = await search(PAGE, page * PAGE);
              rows.forEach((row, index) => (into.rows[page * PAGE + index] = row));
              delete into.error;
            } catch (error) {
              into.asked.delete(page);
              into.error = error;
            }
            changed();
          }),
      );
    },
    [search],
  );

  /** Counts again and reads again what is in view. Rows elsewhere are forgotten, for they may have moved. */
  const refresh = useCallback(async (): Promise<void> => {
    const into = current.current;
    const { filter, metadata } = latest.current;
    try {
      const pages = pagesOf(into.view);
      const counted = client.threads.count(query(filter, metadata));
      counted.catch(() => undefined); // it is awaited below, unless the rows fail first
      const read = await Promise.all(pages.map((page) => search(PAGE, page * PAGE)));
      if (into.total === undefined && read[0] !== undefined) {
        // Rows are shown before all are counted, which takes longer the more there are.
        into.rows = read[0];
        into.total = read[0].length;
        into.asked = new Set([0]);
        changed();
      }
      const total = await counted;
      const rows: (ThreadRow | undefined)[] = total === into.total ? into.rows : [];
      pages.forEach((page, place) => read[place]?.forEach((row, index) => (rows[page * PAGE + index] = row)));
      if (rows !== into.rows) into.asked = new Set();
      for (const page of pages) into.asked.add(page);
      into.rows = rows;
      into.total = total;
      into.isCounted = true;
      delete into.error;
    } catch (error) {
      into.error = error;
    }
    changed();
    await fetchPages(into);
  }, [fetchPages, search]);

  const scan = useCallback(
    async (signal: AbortSignal): Promise<void> => {
      const into = current.current;
      const { filter, metadata, words } = latest.current;
      const oldest = filter.hours > 0 ? new Date(Date.now() - filter.hours * 3_600_000).toISOString() : "";
      const found: ThreadRow[] = [];
      try {
        const of = await client.threads.count(query(filter, metadata));
        for (let offset = 0; offset < of; offset += SCANNED) {
          const rows = await search(SCANNED, offset, signal);
          const young = rows.filter((row) => row.updated >= oldest);
          found.push(...young.filter((row) => matches(row, words)));
          const end = rows.length < SCANNED || young.length < rows.length;
          into.read = { done: end ? of : offset + rows.length, of };
          // What was found before stays until this pass has found as much.
          if (found.length >= (into.total ?? 0) || end) {
            into.rows = [...found];
            into.total = found.length;
          }
          changed();
          if (end || signal.aborted) break;
        }
        into.total ??= 0;
        into.isCounted = true;
        delete into.read;
        delete into.error;
      } catch (error) {
        if (signal.aborted) return;
        into.error = error;
      }
      changed();
    },
    [search],
  );

  useEffect(() => {
    const stop = new AbortController();
    let timer: ReturnType<typeof setTimeout>;
    const turn = async () => {
      if (!document.hidden) await (scans ? scan(stop.signal) : refresh());
      if (!stop.signal.aborted) timer = setTimeout(turn, scans ? REFRESH_MS * 4 : REFRESH_MS);
    };
    timer = setTimeout(turn, scans && words.length > 0 ? 150 : 0); // until the typing rests
    return () => {
      stop.abort();
      clearTimeout(timer);
    };
  }, [key, scans, scan, refresh]);

  return {
    total: loaded.total,
    isCounted: loaded.isCounted,
    row: (index) => loaded.rows[index],
    show: (first, last) => {
      loaded.view = [first, last];
      if (!scans && loaded.isCounted) void fetchPages(loaded);
    },
    error: loaded.error,
    read: loaded.read,
    reload: () => void (scans ? scan(new AbortController().signal) : refresh()),
  };
}

function pagesOf([first, last]: [number, number]): number[] {
  const from = Math.floor(first / PAGE);
  return Array.from({ length: Math.floor(last / PAGE) - from + 1 }, (_, index) => from + index);
}

function query(filter: ThreadFilter, metadata: Record<string, unknown>) {
  const all = { ...metadata, ...(filter.graph ? { graph_id: filter.graph } : {}) };
  return {
    ...(filter.status ? { status: filter.status as ThreadStatus } : {}),
    ...(Object.keys(all).length > 0 ? { metadata: all } : {}),
  };
}

function valueOf(text: string): unknown {
  try {
    const value: unknown = JSON.parse(text);
    return typeof value === "object" && value !== null ? text : value;
  } catch {
    return text;
  }
}
