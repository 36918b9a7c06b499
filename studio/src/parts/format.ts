/** Times, sizes and titles as people read them. */

import type { Metadata } from "@langchain/langgraph-sdk";

const MINUTE = 60_000;
const HOUR = 60 * MINUTE;
const DAY = 24 * HOUR;

/** How long ago: `now`, `2 min`, `5 h`, `yesterday`, `Mon`, `4 Nov`, `4 Nov 2024`. */
export function ago(moment: string | number, now = Date.now()): string {
  const then = new Date(moment);
  const past = now - then.getTime();
  if (past < MINUTE) return "now";
  if (past < HOUR) return `${Math.floor(past / MINUTE)} min`;
  const today = new Date(now);
  const days = Math.round((startOfDay(today) - startOfDay(then)) / DAY);
  if (days === 0 || past < 6 * HOUR) return `${Math.floor(past / HOUR)} h`;
  if (days === 1) return "yesterday";
  if (days < 7) return then.toLocaleDateString("en", { weekday: "short" });
  const sameYear = then.getFullYear() === today.getFullYear();
  return then.toLocaleDateString("en-GB", { day: "numeric", month: "short", ...(sameYear ? {} : { year: "numeric" }) });
}

/** A moment in full, in the reader's own time. */
export function inFull(moment: string | number): string {
  return new Date(moment).toLocaleString("en-GB", { dateStyle: "medium", timeStyle: "medium" });
}

/** `14:02` */
export function clock(moment: string | number): string {
  return new Date(moment).toLocaleTimeString("en-GB", { hour: "2-digit", minute: "2-digit" });
}

/** `14:02:07` */
export function inSeconds(moment: string | number): string {
  return new Date(moment).toLocaleTimeString("en-GB");
}

/** A span of milliseconds: `120 ms`, `3.1 s`, `2 min 5 s`, `1 h 2 min`. */
export function span(ms: number): string {
  if (ms < 1000) return `${Math.max(0, Math.round(ms))} ms`;
  if (ms < MINUTE) return `${(ms / 1000).toFixed(1)} s`;
  if (ms < HOUR) return `${Math.floor(ms / MINUTE)} min ${Math.floor((ms % MINUTE) / 1000)} s`;
  return `${Math.floor(ms / HOUR)} h ${Math.floor((ms % HOUR) / MINUTE)} min`;
}

/** A size in bytes: `512 B`, `12 kB`, `1.1 MB`. */
export function size(bytes: number): string {
  if (bytes < 1000) return `${bytes} B`;
  const [unit, per] = bytes < 1_000_000 ? ["kB", 1_000] : bytes < 1_000_000_000 ? ["MB", 1_000_000] : ["GB", 1_000_000_000];
  const value = bytes / Number(per);
  return `${value < 10 ? value.toFixed(1) : Math.round(value)} ${unit}`;
}

export function number(count: number): string {
  return count.toLocaleString("en");
}

/** The last digits of an id: the first ones are a time, and alike in all ids of a day. */
export function shortId(id: string): string {
  return id.length <= 13 ? id : `…${id.slice(-8)}`;
}

/** The text of a message's content: a text, or the text blocks of a list. */
export function textOf(content: unknown): string {
  if (typeof content === "string") return content;
  if (!Array.isArray(content)) return "";
  return content
    .map((block: unknown) =>
      typeof block === "string" ? block : typeof (block as { text?: unknown })?.text === "string" ? (block as { text: string }).text : "",
    )
    .join("");
}

/** A thread's title: `metadata.title`, or else its first message, on one line. Empty if it has neither. */
export function titleOf(metadata: Metadata | null | undefined, firstContent: unknown): string {
  const given = metadata?.["title"];
  const text = typeof given === "string" && given.trim() ? given : textOf(firstContent);
  return text.replace(/\s+/g, " ").trim().slice(0, 200);
}

function startOfDay(date: Date): number {
  return new Date(date.getFullYear(), date.getMonth(), date.getDate()).getTime();
}
