/** Addresses within the page: `#/threads/<id>?view=steps`. */

import { useSyncExternalStore } from "react";

export interface Route {
  /** The parts between slashes, decoded. */
  path: string[];
  query: URLSearchParams;
}

export function parseRoute(hash: string): Route {
  const [path = "", query = ""] = hash.replace(/^#\/?/, "").split("?", 2);
  return { path: path.split("/").filter(Boolean).map(decodeSafely), query: new URLSearchParams(query) };
}

/** The address of a place. Empty and missing values of the query are left out. */
export function href(path: string[], query: Record<string, string | null | undefined> = {}): string {
  const kept = Object.entries(query).filter((entry): entry is [string, string] => Boolean(entry[1]));
  const text = new URLSearchParams(kept).toString();
  return `#/${path.map(encodeURIComponent).join("/")}${text ? `?${text}` : ""}`;
}

export function go(address: string, replace = false): void {
  if (replace) {
    history.replaceState(null, "", address);
    tellAll();
  } else location.hash = address;
}

/** The current address with some values of its query changed; `null` removes one. */
export function withQuery(changes: Record<string, string | null>): string {
  const { path, query } = parseRoute(location.hash);
  return href(path, { ...Object.fromEntries(query), ...changes });
}

let listAddress = href(["threads"]);

/** Notes the address of the list of threads, with its filters, for the way back from a thread. */
export function noteList(): void {
  listAddress = location.hash || listAddress;
}

export function lastList(): string {
  return listAddress;
}

export function useRoute(): Route {
  return parseRoute(useSyncExternalStore(subscribe, () => location.hash));
}

// One listener for all components: those of the page before would otherwise be drawn once more with the address of the next.
const listeners = new Set<() => void>();

function tellAll(): void {
  for (const listener of listeners) listener();
}

function subscribe(changed: () => void): () => void {
  if (listeners.size === 0) window.addEventListener("hashchange", tellAll);
  listeners.add(changed);
  return () => {
    listeners.delete(changed);
    if (listeners.size === 0) window.removeEventListener("hashchange", tellAll);
  };
}

function decodeSafely(text: string): string {
  try {
    return decodeURIComponent(text);
  } catch {
    return text;
  }
}
