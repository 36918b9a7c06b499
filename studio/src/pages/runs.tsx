/** Runs and queue: what runs and what waits, in the order in which it starts, with the reason in words. */

import { type ReactNode, useState } from "react";
import { client, messageOf } from "../api/client";
import { type QueuedRun, getQueue } from "../api/extras";
import { useQuery } from "../api/query";
import { inFull, number, shortId, span, titleOf } from "../parts/format";
import { Bones, Empty, Failure } from "../parts/notices";
import { Status } from "../parts/status";
import { Top } from "../parts/top";
import { href } from "../routes";

const POLL_MS = 2_000;
const MOST = 500;
/** Titles are read for at most this many threads. */
const TITLED = 100;

export function RunsPage() {
  const queue = useQuery("queue", () => getQueue(undefined, MOST), POLL_MS);
  const [problem, setProblem] = useState("");
  const runs = queue.data ?? [];
  const titles = useTitles(runs);
  const names = useAssistantNames();
  const running = runs.filter((run) => run.status === "running").length;

  const cancel = async (run: QueuedRun) => {
    setProblem("");
    try {
      await client.runs.cancel(run.thread_id, run.run_id, false, "interrupt");
    } catch (error) {
      setProblem(messageOf(error));
    }
    queue.reload();
  };

  let content: ReactNode;
  if (queue.data === undefined) {
    content = queue.error === undefined ? <Bones rows={8} /> : <Failure error={queue.error} what="The queue cannot be read" retry={queue.reload} />;
  } else if (runs.length === 0) {
    content = (
      <Empty icon="runs" title="Nothing runs and nothing waits">
        Runs are listed here from their start until they end, in the order in which workers take them.
      </Empty>
    );
  } else {
    content = (
      <div className="scroll">
        <table className="table stacks">
          <thead>
            <tr>
              <th>Status</th>
              <th>Thread</th>
              <th>Assistant</th>
              <th className="right">Age</th>
              <th className="right">Attempt</th>
              <th className="right">Lease</th>
              <th>Reason</th>
              <th>
                <span className="unseen">Actions</span>
              </th>
            </tr>
          </thead>
          <tbody>
            {runs.map((run) => (
              <tr key={run.run_id}>
                <td>
                  <Status of={run.status === "running" ? "busy" : run.status} />
                </td>
                <td className="wide">
                  <a href={href(["threads", run.thread_id])} title={`Run ${run.run_id}`}>
                    {titles.get(run.thread_id) || <span className="mono">{shortId(run.thread_id)}</span>}
                  </a>
                </td>
                <td className="muted">{names.get(run.assistant_id) ?? <span className="mono">{shortId(run.assistant_id)}</span>}</td>
                <td className="num muted right" title={inFull(run.created_at)}>
                  {span(Date.now() - Date.parse(run.created_at))}
                </td>
                <td className="num muted right">
                  {run.attempt} of {run.max_attempts}
                </td>
                <td className="num muted right" title={run.worker ?? undefined}>
                  {run.lease_seconds === null ? "" : `${run.lease_seconds} s`}
                </td>
                <td className="reason">{run.reason}</td>
                <td className="right">
                  <button type="button" className="btn" aria-label={`Cancel the run of ${titles.get(run.thread_id) || run.thread_id}`} onClick={() => void cancel(run)}>
                    Cancel
                  </button>
                </td>
              </tr>
            ))}
          </tbody>
        </table>
      </div>
    );
  }
  return (
    <>
      <Top title="Runs" whole>
        {runs.length > 0 && (
          <span className="faint num">
            {number(running)} running, {number(runs.length - running)} queued
          </span>
        )}
        <span className="space" />
      </Top>
      <main className="page">
        {problem && (
          <div className="bar bad" role="alert">
            {problem}
          </div>
        )}
        {queue.error !== undefined && queue.data !== undefined && (
          <div className="bar bad" role="alert">
            {messageOf(queue.error)} This is the queue of a moment ago.
          </div>
        )}
        {runs.length === MOST && (
          <div className="bar" role="status">
            The first {number(MOST)} runs are shown.
          </div>
        )}
        {content}
      </main>
    </>
  );
}

/** The titles of the runs' threads, by their ids. */
function useTitles(runs: QueuedRun[]): Map<string, string> {
  const ids = [...new Set(runs.map((run) => run.thread_id))].slice(0, TITLED).sort();
  const found = useQuery(ids.length === 0 ? null : `titles ${ids.join(" ")}`, () =>
    client.threads.search({ ids, limit: TITLED, select: ["thread_id", "metadata"], extract: { first: "values.messages[0].content" } }),
  ).data;
  return new Map((found ?? []).map((thread) => [thread.thread_id, titleOf(thread.metadata, thread.extracted?.["first"])]));
}

/** The names of assistants by their ids. */
export function useAssistantNames(): Map<string, string> {
  const assistants = useQuery("assistants", () => client.assistants.search({ limit: 1000 })).data ?? [];
  return new Map(assistants.map((one) => [one.assistant_id, one.name || one.graph_id]));
}
