/** The chat over `@langchain/langgraph-sdk/react`: the classic endpoints. */

import { useStream } from "@langchain/langgraph-sdk/react";
import { type Chat, type ChatOptions, type State, apiUrl, assistantId, human, shown } from "./chat";

export function useSdkChat({ threadId, onThreadId }: ChatOptions): Chat {
  const stream = useStream<State>({
    apiUrl,
    assistantId,
    threadId,
    onThreadId,
    reconnectOnMount: true,
    fetchStateHistory: { limit: 1000 },
  });
  const metadata = (messageId: string) => {
    const message = stream.messages.find((one) => one.id === messageId);
    return message && stream.getMessagesMetadata(message);
  };
  return {
    threadId,
    messages: shown(stream.messages),
    question: stream.interrupt?.value,
    isLoading: stream.isLoading,
    error: stream.error,
    // On a branch that was switched to, its head is named, or else the hook shows the newest branch again.
    send: (text) => {
      const head = stream.branch === "" ? undefined : stream.history.at(-1)?.checkpoint;
      void stream.submit(human(text), { streamResumable: true, ...(head && { checkpoint: head }) });
    },
    answer: (value) => void stream.submit(null, { command: { resume: value } }),
    stop: () => void stream.stop(),
    fork: (checkpointId, text) =>
      void stream.submit(text === null ? undefined : human(text), {
        streamResumable: true,
        checkpoint: checkpointId === undefined ? null : { checkpoint_id: checkpointId, checkpoint_ns: "", checkpoint_map: null },
      }),
    useCheckpointBefore: (messageId) => async () =>
      metadata(messageId)?.firstSeenState?.parent_checkpoint?.checkpoint_id ?? undefined,
    versions: (messageId) => {
      const { branch, branchOptions } = metadata(messageId) ?? {};
      if (branch === undefined || branchOptions === undefined || branchOptions.length < 2) return undefined;
      return {
        index: branchOptions.indexOf(branch),
        count: branchOptions.length,
        show: (index) => {
          const wanted = branchOptions[index];
          if (wanted !== undefined) stream.setBranch(wanted);
        },
      };
    },
  };
}
