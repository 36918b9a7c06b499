/** The chat over `@langchain/react`: protocol v2. `?transport=websocket` picks the transport.
 *
 * `useMessageMetadata` knows the checkpoint before the messages of the newest turn, as long as the page is not loaded anew: the
 * package overwrites it with each run, and after loading takes it from the newest state. With `?fork=hook` the page relies on it,
 * otherwise it asks the thread's history. */

import { useMessageMetadata, useStream } from "@langchain/react";
import { checkpointBefore } from "./server";
import { type Chat, type ChatOptions, type State, apiUrl, assistantId, human, shown } from "./chat";

const parameters = new URLSearchParams(window.location.search);

export function useReactChat({ threadId, onThreadId }: ChatOptions): Chat {
  const transport = parameters.get("transport") === "websocket" ? "websocket" : "sse";
  const stream = useStream<State>({ apiUrl, assistantId, threadId, onThreadId, transport });
  return {
    threadId: stream.threadId,
    messages: shown(stream.messages),
    question: stream.interrupt?.value,
    isLoading: stream.isLoading,
    error: stream.error,
    send: (text) => void stream.submit(human(text)),
    answer: (value) => void stream.respond(value),
    stop: () => void stream.stop(),
    fork: (checkpointId, text) =>
      void stream.submit(text === null ? null : human(text), checkpointId === undefined ? {} : { forkFrom: checkpointId }),
    useCheckpointBefore: (messageId) => {
      const known = useMessageMetadata(stream, messageId)?.parentCheckpointId;
      if (parameters.get("fork") === "hook") return async () => known;
      return () => checkpointBefore(stream.threadId ?? "", messageId);
    },
    versions: () => undefined,
  };
}
