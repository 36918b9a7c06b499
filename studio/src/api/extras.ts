/**
 * Routes that only Threadloom has, and what `/info` announces. A page that needs one asks `useFeatures` first, so that Studio
 * stays useful with other servers of this API.
 *
 * Written to `docs/contract/repository.md` ("Threads as a repository").
 */

import type { Metadata, Thread } from "@langchain/langgraph-sdk";
import { request } from "./client";
import { useQuery } from "./query";

export interface Info {
  version: string;
  langgraph_py_version?: string;
  flags?: Record<string, unknown>;
  features?: Record<string, unknown>;
  reload?: Record<string, unknown>;
}

export interface Features {
  /** Searches can select `forked_from` and `error`. */
  forkedFrom: boolean;
  /** `copy` takes a cut, `count` and `metadata`. */
  copyOptions: boolean;
  branches: boolean;
  lineage: boolean;
  compare: boolean;
  reset: boolean;
  promote: boolean;
  tags: boolean;
  append: boolean;
  queue: boolean;
  server: boolean;
  storage: boolean;
}

/** Features from an answer of `/info`. A feature that is not announced is off. */
export function featuresOf(info: Info | undefined): Features {
  const on = (name: string) => info?.flags?.[name] === true || info?.features?.[name] === true;
  return {
    forkedFrom: on("select_forked_from"),
    copyOptions: on("copy_anywhere"),
    branches: on("branches"),
    lineage: on("thread_lineage"),
    compare: on("thread_compare"),
    reset: on("reset"),
    promote: on("promote"),
    tags: on("tags"),
    append: on("append"),
    queue: on("queue"),
    server: on("server"),
    storage: on("thread_storage"),
  };
}

export function useInfo() {
  return useQuery<Info>("info", () => request("GET", "/info"));
}

export function useFeatures(): Features {
  return featuresOf(useInfo().data);
}

// --- records ---

export interface ForkedFrom {
  thread_id: string;
  checkpoint_id: string | null;
  at: string;
}

export interface CopiedThread extends Thread {
  forked_from?: ForkedFrom;
  root_thread_id?: string;
  /** Where the copy was cut, when the request named a place. */
  cut?: {
    checkpoint_id: string | null;
    checkpoint_ns: string;
    message_id: string | null;
    at: "before" | "after" | null;
    moved: boolean;
    message?: Record<string, unknown>;
  };
}

/** A message in the tree of a thread's messages. `parent` and `siblings` are places in the list of turns. */
export interface Turn {
  message_id: string | null;
  role: string | null;
  before: string | null;
  after: string;
  run_id: string | null;
  created_at: string | null;
  parent: number | null;
  siblings: number[];
  active: boolean;
  copies: string[];
}

export interface Branches {
  thread_id: string;
  head: string | null;
  turns: Turn[];
  /** Copies that left before the first turn, or at a checkpoint that was removed since. */
  copies: string[];
  checkpoints: number;
  truncated: boolean;
}

export interface LineageThread {
  thread_id: string | null;
  parent: string | null;
  checkpoint_id: string | null;
  at: string | null;
  deleted: boolean;
  hidden?: boolean;
  status?: string;
  updated_at?: string;
  metadata?: Record<string, unknown>;
  depth: number;
}

export interface Lineage {
  root_thread_id: string | null;
  threads: LineageThread[];
  truncated: boolean;
}

export interface ComparedHead {
  thread_id: string;
  head: string | null;
  ahead: number;
}

export interface Comparison {
  a: ComparedHead;
  b: ComparedHead;
  common: { checkpoint_id: string; thread_id: string | null } | null;
  first_difference: { a: string | null; b: string | null } | null;
  equal: boolean;
  channels?: Record<string, { change: "added" | "removed" | "changed" | "same"; a?: unknown; b?: unknown }>;
  messages?: { id: string; change: "added" | "removed" | "changed" | "same"; a?: unknown; b?: unknown }[];
}

export interface Tag {
  name: string;
  checkpoint_id: string;
  created_at: string;
  updated_at: string;
}

/** A pending or running run, and what it waits for in words. */
export interface QueuedRun {
  run_id: string;
  thread_id: string;
  assistant_id: string;
  status: "pending" | "running";
  created_at: string;
  starts_at: string | null;
  attempt: number;
  max_attempts: number;
  worker: string | null;
  lease_seconds: number | null;
  /** How many runs start before it; null while another run of its thread is before it. */
  ahead: number | null;
  reason: string;
}

export interface ServerDetails {
  started_at: string;
  versions: Record<string, string>;
  storage: Record<string, unknown>;
  graphs: { graph_id: string; path: string }[];
  configuration: Record<string, unknown> | null;
  environment: Record<string, unknown>;
  queue: Record<string, number | null>;
  workers: { max: number; active: number };
  /** Warnings and errors of the log, the newest first. */
  failures: { timestamp?: string; level?: string; event?: string; exception?: string; thread_id?: string }[];
}

/** Where and how to copy; at most one of `checkpoint_id`, `checkpoint` and `message_id`. */
export interface CopyOptions {
  checkpoint_id?: string;
  checkpoint?: { checkpoint_ns: string; checkpoint_id: string };
  message_id?: string;
  at?: "before" | "after";
  on_split?: "move" | "refuse";
  keep?: "all" | "latest" | number;
  count?: number;
  metadata?: Metadata | Metadata[];
  thread_id?: string;
  if_exists?: "raise" | "do_nothing";
  assistant_id?: string;
}

// --- calls ---

function thread(threadId: string, rest = ""): string {
  return `/threads/${encodeURIComponent(threadId)}${rest}`;
}

export function copyThread(threadId: string, options: CopyOptions & { count?: never } = {}): Promise<CopiedThread> {
  return request("POST", thread(threadId, "/copy"), options);
}

export function copyManyTimes(threadId: string, count: number, options: CopyOptions = {}): Promise<CopiedThread[]> {
  return request("POST", thread(threadId, "/copy"), { ...options, count });
}

export function getBranches(threadId: string): Promise<Branches> {
  return request("GET", thread(threadId, "/branches"));
}

export function getLineage(threadId: string): Promise<Lineage> {
  return request("GET", thread(threadId, "/lineage"));
}

export function compareThreads(
  a: string,
  b: string,
  options: { state?: boolean; aCheckpoint?: string; bCheckpoint?: string } = {},
): Promise<Comparison> {
  const query = new URLSearchParams();
  if (options.state) query.set("state", "true");
  if (options.aCheckpoint) query.set("a_checkpoint", options.aCheckpoint);
  if (options.bCheckpoint) query.set("b_checkpoint", options.bCheckpoint);
  return request("GET", thread(a, `/compare/${encodeURIComponent(b)}?${query}`));
}

/** Moves a thread's head to a checkpoint, or back to where it was before the last move. */
export function resetThread(
  threadId: string,
  to: { checkpoint_id: string } | { undo: true },
): Promise<CopiedThread & { moved: { from: string | null; to: string | null } }> {
  return request("POST", thread(threadId, "/reset"), to);
}

export function promoteThread(threadId: string, otherId: string): Promise<CopiedThread> {
  return request("POST", thread(threadId, "/promote"), { thread_id: otherId });
}

/** Pending and running runs in the order in which they start, of one thread or of all. */
export function getQueue(threadId?: string, limit = 100): Promise<QueuedRun[]> {
  const query = new URLSearchParams({ limit: String(limit) });
  if (threadId !== undefined) query.set("thread_id", threadId);
  return request("GET", `/queue?${query}`);
}

/** How many bytes a thread's checkpoints, values and writes take. */
export function getStorage(threadId: string): Promise<{ total_bytes: number; checkpoints: { count: number } }> {
  return request("GET", thread(threadId, "/storage"));
}

export function getServer(): Promise<ServerDetails> {
  return request("GET", "/server");
}

export function listTags(threadId: string): Promise<Tag[]> {
  return request("GET", thread(threadId, "/tags"));
}

export function putTag(
  threadId: string,
  name: string,
  options: { checkpoint_id?: string; if_exists?: "raise" | "move" } = {},
): Promise<Tag> {
  return request("PUT", thread(threadId, `/tags/${encodeURIComponent(name)}`), options);
}

export function deleteTag(threadId: string, name: string): Promise<void> {
  return request("DELETE", thread(threadId, `/tags/${encodeURIComponent(name)}`));
}
