/** What the page asks of the server beside its chat. */

import { Client } from "@langchain/langgraph-sdk";
import { type State, apiUrl } from "./chat";

export const client = new Client<State>({ apiUrl });

/** The checkpoint before the first one that holds a message, on the branch that the thread's newest state is on. */
export async function checkpointBefore(threadId: string, messageId: string) {
  const states = await client.threads.getHistory<State>(threadId, { limit: 1000 });
  const byId = new Map(states.map((state) => [state.checkpoint.checkpoint_id, state]));
  let before: string | null | undefined;
  for (let state = states[0]; state !== undefined; state = byId.get(before ?? "")) {
    before = state.parent_checkpoint?.checkpoint_id;
    const parent = byId.get(before ?? "");
    if (!parent?.values.messages?.some((one) => one.id === messageId)) break;
  }
  return before ?? undefined;
}
