/** Messages as the server sends them, pieces of messages put together, and the turns of a conversation. Pure. */

export interface ToolCall {
  id?: string | null;
  name?: string;
  args?: unknown;
  index?: number;
}

export interface Message {
  id?: string | null;
  /** `human`, `ai`, `tool`, `system` …; of a piece `AIMessageChunk`. */
  type?: string;
  role?: string;
  content?: unknown;
  name?: string | null;
  tool_calls?: ToolCall[];
  tool_call_chunks?: ToolCall[];
  tool_call_id?: string;
  status?: string;
  response_metadata?: Record<string, unknown>;
  usage_metadata?: { total_tokens?: number; input_tokens?: number; output_tokens?: number } | null;
}

const ROLES: Record<string, string> = { AIMessageChunk: "ai", assistant: "ai", user: "human", HumanMessageChunk: "human", ToolMessageChunk: "tool", developer: "system" };

export function roleOf(message: Message): string {
  const role = message.type ?? message.role ?? "";
  return ROLES[role] ?? role;
}

/** The messages of a state. Entries that are no messages are left out. */
export function messagesOf(values: unknown): Message[] {
  const found = (values as { messages?: unknown } | null | undefined)?.messages;
  return Array.isArray(found) ? found.filter((one): one is Message => typeof one === "object" && one !== null) : [];
}

/** A message with one more piece of it at its end. */
export function withPiece(message: Message | undefined, piece: Message): Message {
  if (message === undefined) return piece;
  return {
    ...message,
    ...(piece.type?.endsWith("Chunk") ? {} : { type: piece.type ?? message.type ?? "ai" }),
    content: joined(message.content, piece.content),
    tool_call_chunks: joinedCalls(message.tool_call_chunks ?? [], piece.tool_call_chunks ?? []),
    ...(piece.usage_metadata ? { usage_metadata: piece.usage_metadata } : {}),
    ...(piece.response_metadata ? { response_metadata: { ...message.response_metadata, ...piece.response_metadata } } : {}),
  };
}

/** A list of messages after a node wrote others: those with a known id replace it, the rest follow. */
export function withMessages(before: Message[], written: Message[]): Message[] {
  const after = [...before];
  for (const message of written) {
    const at = message.id ? after.findIndex((one) => one.id === message.id) : -1;
    if (roleOf(message) === "remove") {
      if (message.id === "__remove_all__") after.length = 0;
      else if (at >= 0) after.splice(at, 1);
    } else if (at >= 0) after[at] = message;
    else after.push(message);
  }
  return after;
}

/** A tool call with its result, as far as it has come. */
export interface Call {
  id: string;
  name: string;
  /** An object, or the JSON text of an object while it is written. */
  args: unknown;
  result: Message | undefined;
}

/** A stretch of the conversation by one side: a human message, or what the graph said and called until the next one. */
export interface Turn {
  key: string;
  role: string;
  parts: { message: Message; calls: Call[] }[];
}

export function turnsOf(messages: Message[]): Turn[] {
  const results = new Map<string, Message>();
  const asked = new Set<string>();
  for (const message of messages) {
    if (roleOf(message) === "tool" && message.tool_call_id) results.set(message.tool_call_id, message);
    for (const call of callsOf(message)) if (call.id) asked.add(call.id);
  }
  const turns: Turn[] = [];
  messages.forEach((message, index) => {
    const role = roleOf(message);
    // The result of a call is shown with the call.
    if (role === "tool" && message.tool_call_id && asked.has(message.tool_call_id)) return;
    const calls = callsOf(message).map((call, place) => ({
      id: call.id ?? `${index}-${place}`,
      name: call.name ?? "",
      args: call.args,
      result: call.id ? results.get(call.id) : undefined,
    }));
    const side = role === "tool" ? "ai" : role;
    const last = turns.at(-1);
    if (last !== undefined && side === "ai" && last.role === "ai") last.parts.push({ message, calls });
    else turns.push({ key: message.id ?? `at ${index}`, role: side, parts: [{ message, calls }] });
  });
  return turns;
}

function callsOf(message: Message): ToolCall[] {
  return message.tool_call_chunks?.length ? message.tool_call_chunks : (message.tool_calls ?? []);
}

function joined(before: unknown, piece: unknown): unknown {
  if (piece === undefined || piece === null || piece === "") return before;
  if (typeof before === "string" && typeof piece === "string") return before + piece;
  const blocks: unknown[] = asBlocks(before);
  for (const block of asBlocks(piece)) {
    const { index, text } = block as { index?: unknown; text?: unknown };
    const last = blocks.at(-1) as { index?: unknown; text?: unknown; type?: unknown } | undefined;
    const goesOn = last !== undefined && typeof last.text === "string" && typeof text === "string" && last.index === index;
    if (goesOn) blocks[blocks.length - 1] = { ...last, text: `${last.text as string}${text}` };
    else blocks.push(block);
  }
  return blocks;
}

function asBlocks(content: unknown): unknown[] {
  if (Array.isArray(content)) return [...(content as unknown[])];
  return typeof content === "string" && content ? [{ type: "text", text: content }] : [];
}

function joinedCalls(before: ToolCall[], pieces: ToolCall[]): ToolCall[] {
  const calls = [...before];
  for (const piece of pieces) {
    const at = calls.findIndex((call) => call.index !== undefined && call.index === piece.index && (!piece.id || piece.id === call.id));
    const call = calls[at];
    if (call === undefined) calls.push(piece);
    else calls[at] = { ...call, name: call.name || (piece.name ?? ""), id: call.id ?? piece.id ?? null, args: `${asText(call.args)}${asText(piece.args)}` };
  }
  return calls;
}

function asText(value: unknown): string {
  return typeof value === "string" ? value : "";
}
