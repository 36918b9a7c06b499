/** What can be done from a place of a thread: copy, run again, fork, move the head, tag. A failure is told by the page. */

import type { Thread, ThreadState } from "@langchain/langgraph-sdk";
import { client } from "../../../api/client";
import { type CopyOptions, copyThread, getBranches, listTags, resetThread, useFeatures, useInfo } from "../../../api/extras";
import { useQuery } from "../../../api/query";
import { STREAM_MODES } from "../../../live/follow";
import { go, href, withQuery } from "../../../routes";
import { useKept } from "./kept";

/** What a run is started with. */
export type Started = { input?: unknown; command?: unknown };

interface Around {
  threadId: string;
  thread: Thread | undefined;
  /** The newest state. */
  state: ThreadState | undefined;
  assistantId: string | undefined;
  /** Whether a run is under way. */
  running: boolean;
  /** Tells the page of a failure, and passes it on. */
  attempt: (work: () => Promise<unknown>) => Promise<void>;
  /** Follows a run that was started. */
  onRun: (runId: string) => void;
  /** Reads the thread again. */
  refresh: () => Promise<void>;
}

export type Forks = ReturnType<typeof useForks>;

const RUN = { streamMode: [...STREAM_MODES], streamSubgraphs: true, streamResumable: true, multitaskStrategy: "enqueue" as const };

export function useForks({ threadId, thread, state, assistantId, running, attempt, onRun, refresh }: Around) {
  const features = useFeatures();
  const head = state?.checkpoint?.checkpoint_id ?? null;
  const exists = thread !== undefined;
  const map = useKept(useQuery(features.branches && exists ? `branches ${threadId} ${head}` : null, () => getBranches(threadId)).data, threadId);
  const tags = useQuery(features.tags && exists ? `tags ${threadId}` : null, () => listTags(threadId));
  const byCopy = useForksByCopy(assistantId);

  const quietly = (work: () => Promise<unknown>) => void attempt(work).catch(() => undefined);

  /** Starts a run from a checkpoint: on a copy where a run in place would not be right. */
  const runFrom = (checkpoint: string, started: Started) =>
    attempt(async () => {
      if (assistantId === undefined) throw new Error("There is no assistant to run.");
      if (byCopy && checkpoint !== head) {
        const copy = await copyThread(threadId, { checkpoint_id: checkpoint });
        await client.runs.create(copy.thread_id, assistantId, { ...(started as object), ...RUN });
        go(href(["threads", copy.thread_id]));
      } else {
        const run = await client.runs.create(threadId, assistantId, { ...(started as object), ...RUN, checkpointId: checkpoint });
        go(withQuery({ cp: null }), true);
        onRun(run.run_id);
      }
    });

  /** Writes values over those of a checkpoint, and runs on from there if asked to. */
  const save = (checkpoint: string, values: Record<string, unknown>, asNode: string | undefined, andRun: boolean) =>
    attempt(async () => {
      const onCopy = byCopy && checkpoint !== head;
      const id = onCopy ? (await copyThread(threadId, { checkpoint_id: checkpoint })).thread_id : threadId;
      await client.threads.updateState(id, { values, ...(onCopy ? {} : { checkpointId: checkpoint }), ...(asNode ? { asNode } : {}) });
      if (andRun && assistantId !== undefined) {
        const run = await client.runs.create(id, assistantId, { input: null, ...RUN });
        if (!onCopy) onRun(run.run_id);
      }
      if (onCopy) go(href(["threads", id]));
      else {
        go(withQuery({ cp: null }), true);
        await refresh();
      }
    });

  return {
    threadId,
    head,
    features,
    map,
    tags: tags.data ?? [],
    reloadTags: tags.reload,
    /** Forks are copies: the graph has subgraphs, whose memory a run in place from an earlier checkpoint would mix up. */
    byCopy,
    running,
    runFrom,
    save,
    again: (checkpoint: string) => void runFrom(checkpoint, { input: null }).catch(() => undefined),
    copy: (options: CopyOptions & { count?: never } = {}) => quietly(async () => go(href(["threads", (await copyThread(threadId, options)).thread_id]))),
    reset: (checkpoint: string) =>
      quietly(async () => {
        const { moved } = await resetThread(threadId, { checkpoint_id: checkpoint });
        go(withQuery({ cp: null, moved: moved.to }), true);
        await refresh();
      }),
    undo: () =>
      quietly(async () => {
        await resetThread(threadId, { undo: true });
        go(withQuery({ cp: null, moved: null }), true);
        await refresh();
      }),
  };
}

/** Whether forks of a graph are copies. While it is not known they are: a copy is always right. */
function useForksByCopy(assistantId: string | undefined): boolean {
  const { copyOptions } = useFeatures();
  const isolated = useInfo().data?.flags?.["isolate_forks"] === true;
  const asks = copyOptions && !isolated && assistantId !== undefined;
  const subgraphs = useQuery(asks ? `subgraphs ${assistantId}` : null, () => client.assistants.getSubgraphs(assistantId ?? ""));
  return asks && (subgraphs.data === undefined || Object.keys(subgraphs.data).length > 0);
}
