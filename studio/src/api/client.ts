/** The server: one SDK client for all pages, the caller's token, and whether the server answers. */

import { Client } from "@langchain/langgraph-sdk/client";
import { useSyncExternalStore } from "react";

/** The server's address, without a slash at the end. The page is one folder below it. */
export const serverUrl = new URL("..", location.href.replace(/[?#].*$/, "")).href.replace(/\/$/, "");

export type Connection = "unknown" | "up" | "down" | "denied";
export type TokenHeader = "authorization" | "x-api-key";

const TOKEN = "threadloom-studio-token";
const HEADER = "threadloom-studio-token-header";

let connection: Connection = "unknown";
const listeners = new Set<() => void>();

function noteConnection(now: Connection): void {
  if (now === connection) return;
  connection = now;
  for (const listener of listeners) listener();
}

/** A refused token stays refused until another one is typed in: routes that need none still answer. */
async function watchedFetch(input: RequestInfo | URL, init?: RequestInit): Promise<Response> {
  const token = sessionStorage.getItem(TOKEN);
  try {
    const response = await fetch(input, init);
    if (response.status === 401) {
      if (token === sessionStorage.getItem(TOKEN)) noteConnection("denied");
    } else if (response.status !== 502 && response.status !== 503 && connection !== "denied") noteConnection("up");
    return response;
  } catch (error) {
    if (!init?.signal?.aborted) noteConnection("down");
    throw error;
  }
}

function tokenHeaders(): Record<string, string> {
  const token = sessionStorage.getItem(TOKEN);
  if (!token) return {};
  if (sessionStorage.getItem(HEADER) === "x-api-key") return { "x-api-key": token };
  return { authorization: token.includes(" ") ? token : `Bearer ${token}` };
}

function newClient(): Client {
  return new Client({
    apiUrl: serverUrl,
    apiKey: null as unknown as string,
    defaultHeaders: tokenHeaders(),
    callerOptions: { maxRetries: 0, maxConcurrency: 12, fetch: watchedFetch },
  });
}

/** The SDK client. Read it when it is used: another token makes another client. */
export let client = newClient();

/** Whether a token was typed in. */
export function hasToken(): boolean {
  return sessionStorage.getItem(TOKEN) !== null;
}

/** Keeps a token until the tab is closed. An empty one is forgotten. A token with a space is the whole header. */
export function setToken(token: string, header: TokenHeader): void {
  if (token) sessionStorage.setItem(TOKEN, token);
  else sessionStorage.removeItem(TOKEN);
  sessionStorage.setItem(HEADER, header);
  client = newClient();
  noteConnection("unknown");
}

export function useConnection(): Connection {
  return useSyncExternalStore(
    (changed) => {
      listeners.add(changed);
      return () => listeners.delete(changed);
    },
    () => connection,
  );
}

export class ApiError extends Error {
  constructor(
    message: string,
    readonly status: number,
  ) {
    super(message);
  }
}

/** A request that the SDK has no method for. `path` begins with a slash; a `body` is sent as JSON. */
export async function request<T>(method: string, path: string, body?: unknown, signal?: AbortSignal): Promise<T> {
  const response = await watchedFetch(serverUrl + path, {
    method,
    headers: { ...tokenHeaders(), ...(body === undefined ? {} : { "content-type": "application/json" }) },
    ...(body === undefined ? {} : { body: JSON.stringify(body) }),
    ...(signal ? { signal } : {}),
  });
  const text = await response.text();
  if (!response.ok) throw new ApiError(detailOf(text) ?? response.statusText, response.status);
  return (text ? JSON.parse(text) : undefined) as T;
}

/** What to tell a person of an error: the server's own words where it sent some. */
export function messageOf(error: unknown): string {
  if (error instanceof TypeError) return "The server does not answer.";
  if (!(error instanceof Error)) return String(error);
  const sent = /^HTTP \d+: ([\s\S]*)$/.exec(error.message)?.[1] ?? error.message;
  return detailOf(sent) ?? sent;
}

export function statusOf(error: unknown): number | undefined {
  const status = (error as { status?: unknown } | null)?.status;
  return typeof status === "number" ? status : undefined;
}

function detailOf(text: string): string | undefined {
  try {
    const { detail } = JSON.parse(text) as { detail?: unknown };
    return detail === undefined ? undefined : typeof detail === "string" ? detail : JSON.stringify(detail);
  } catch {
    return undefined;
  }
}
