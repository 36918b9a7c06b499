/** Two JSON values, place by place. Pure. */

import { same } from "./state";

export interface Change {
  /** The way to the place, `order.status` or `items[2].name`; empty for the whole. */
  path: string;
  kind: "added" | "removed" | "changed";
  before: unknown;
  after: unknown;
}

/** The smallest places in which two values differ. Lists are compared by `id` where all their entries have one, else by position. */
export function changesOf(before: unknown, after: unknown, path = ""): Change[] {
  if (before === undefined && after === undefined) return [];
  if (before === undefined) return [{ path, kind: "added", before, after }];
  if (after === undefined) return [{ path, kind: "removed", before, after }];
  if (same(before, after)) return [];
  if (Array.isArray(before) && Array.isArray(after)) return ofLists(before as unknown[], after as unknown[], path);
  if (isObject(before) && isObject(after)) {
    const keys = [...new Set([...Object.keys(before), ...Object.keys(after)])];
    return keys.flatMap((key) => changesOf(before[key], after[key], path ? `${path}.${key}` : key));
  }
  return [{ path, kind: "changed", before, after }];
}

function ofLists(before: unknown[], after: unknown[], path: string): Change[] {
  if (hasIds(before) && hasIds(after)) {
    const known = new Map(before.map((item) => [item.id, item]));
    const kept = new Set(after.map((item) => item.id));
    const removed = before.filter((item) => !kept.has(item.id)).flatMap((item) => changesOf(item, undefined, `${path}[${before.indexOf(item)}]`));
    return [...removed, ...after.flatMap((item, index) => changesOf(known.get(item.id), item, `${path}[${index}]`))];
  }
  const longest = Math.max(before.length, after.length);
  return Array.from({ length: longest }, (_, index) => index).flatMap((index) => changesOf(before[index], after[index], `${path}[${index}]`));
}

function hasIds(list: unknown[]): list is { id: string }[] {
  return list.every((item) => isObject(item) && typeof item["id"] === "string") && new Set(list.map((item) => (item as { id: string }).id)).size === list.length;
}

function isObject(value: unknown): value is Record<string, unknown> {
  return typeof value === "object" && value !== null && !Array.isArray(value);
}

/**
 * What to write so that a state becomes another: the changed entries. Messages that are gone are removed by their ids, for a
 * list of messages is joined with what it has.
 */
export function updateFor(before: Record<string, unknown>, after: Record<string, unknown>): Record<string, unknown> {
  const update: Record<string, unknown> = {};
  for (const [key, value] of Object.entries(after)) {
    const old = before[key];
    if (same(old, value)) continue;
    if (key !== "messages" || !Array.isArray(old) || !Array.isArray(value) || !hasIds(old)) update[key] = value;
    else {
      const known = new Map(old.map((item) => [item.id, item]));
      const kept = new Set((value as { id?: unknown }[]).map((item) => item?.id));
      const removed = old.filter((item) => !kept.has(item.id)).map(({ id }) => ({ type: "remove", id, content: "" }));
      update[key] = [...removed, ...(value as { id?: string }[]).filter((item) => !same(known.get(item?.id ?? ""), item))];
    }
  }
  return update;
}
