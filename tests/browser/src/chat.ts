/** What the page needs of a client, whichever package it is made with. */

export const apiUrl = window.location.origin;
export const assistantId = "chat";

export interface ChatMessage {
  id: string;
  type: string;
  text: string;
}

/** One of several versions of a message. `index` counts from 0. */
export interface Versions {
  index: number;
  count: number;
  show: (index: number) => void;
}

export interface Chat {
  threadId: string | null;
  messages: ChatMessage[];
  /** The question that the thread waits at. */
  question: unknown;
  isLoading: boolean;
  error: unknown;
  send: (text: string) => void;
  answer: (value: string) => void;
  stop: () => void;
  /** Sends a text in place of a human message, or with null asks for another AI message, from the checkpoint before it. */
  fork: (checkpointId: string | undefined, text: string | null) => void;
  /** Finds the checkpoint before a message. It is a hook, to be called for one message. */
  useCheckpointBefore: (messageId: string) => () => Promise<string | undefined>;
  versions: (messageId: string) => Versions | undefined;
}

export interface ChatOptions {
  threadId: string | null;
  onThreadId: (threadId: string) => void;
}

export interface State {
  messages: StateMessage[];
  [key: string]: unknown;
}

export interface StateMessage {
  id?: string;
  type: string;
  content: unknown;
}

export function human(text: string): { messages: { type: "human"; content: string }[] } {
  return { messages: [{ type: "human", content: text }] };
}

/** Messages as the page shows them. */
export function shown(messages: readonly { id?: string | undefined; type: string; content: unknown }[]): ChatMessage[] {
  return messages.map(({ id = "", type, content }) => ({ id, type, text: textOf(content) }));
}

/** The text of a message's content: a string, or blocks. */
export function textOf(content: unknown): string {
  if (typeof content === "string") return content;
  if (!Array.isArray(content)) return "";
  return content.map((block: { text?: string }) => block.text ?? "").join("");
}
