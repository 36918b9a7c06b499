/** Crons: when each runs next, what it runs, and what is done with it: pause, resume, delete. */

import type { Cron } from "@langchain/langgraph-sdk";
import { type ReactNode, useState } from "react";
import { client, messageOf } from "../api/client";
import { useQuery } from "../api/query";
import { Confirm } from "../parts/dialog";
import { inFull, number, shortId, span } from "../parts/format";
import { Json } from "../parts/json";
import { Bones, Empty, Failure } from "../parts/notices";
import { Top } from "../parts/top";
import { href } from "../routes";
import { useAssistantNames } from "./runs";

const POLL_MS = 10_000;
const MOST = 1_000;

/** What Threadloom tells besides. */
type ToldCron = Cron & { last_fired_at?: string | null; last_error?: unknown };

export function CronsPage() {
  const crons = useQuery("crons", () => client.crons.search({ limit: MOST, sortBy: "next_run_date", sortOrder: "asc" }) as Promise<ToldCron[]>, POLL_MS);
  const names = useAssistantNames();
  const [problem, setProblem] = useState("");
  const [leaving, setLeaving] = useState<ToldCron>();

  const attempt = async (work: () => Promise<unknown>) => {
    setProblem("");
    try {
      await work();
    } catch (error) {
      setProblem(messageOf(error));
    }
    crons.reload();
  };

  let content: ReactNode;
  if (crons.data === undefined) {
    content = crons.error === undefined ? <Bones rows={8} /> : <Failure error={crons.error} what="The crons cannot be read" retry={crons.reload} />;
  } else if (crons.data.length === 0) {
    content = (
      <Empty icon="crons" title="No crons">
        A cron starts a run at set times. Clients make them with <code>crons.create</code>.
      </Empty>
    );
  } else {
    content = (
      <div className="scroll">
        <table className="table stacks">
          <thead>
            <tr>
              <th>State</th>
              <th>Schedule</th>
              <th>Assistant</th>
              <th>Thread</th>
              <th>Next run</th>
              <th>Last run</th>
              <th>Input</th>
              <th>
                <span className="unseen">Actions</span>
              </th>
            </tr>
          </thead>
          <tbody>
            {crons.data.map((cron) => (
              <tr key={cron.cron_id}>
                <td>
                  <span className={`state ${cron.enabled === false ? "pending" : "idle"}`}>{cron.enabled === false ? "paused" : "enabled"}</span>
                </td>
                <td>
                  <code>{cron.schedule}</code> <span className="faint">{cron.timezone ?? ""}</span>
                </td>
                <td className="muted">{names.get(cron.assistant_id) ?? shortId(cron.assistant_id)}</td>
                <td>
                  {cron.thread_id ? (
                    <a className="mono" href={href(["threads", cron.thread_id])}>
                      {shortId(cron.thread_id)}
                    </a>
                  ) : (
                    <span className="faint">a new one each time</span>
                  )}
                </td>
                <td className="num" title={cron.next_run_date ? inFull(cron.next_run_date) : undefined}>
                  {cron.enabled === false ? <span className="faint">never while paused</span> : nextRun(cron.next_run_date)}
                </td>
                <td className="reason">
                  {cron.last_error ? <span className="problem">{typeof cron.last_error === "string" ? cron.last_error : JSON.stringify(cron.last_error)}</span> : cron.last_fired_at ? <span className="num muted">{inFull(cron.last_fired_at)}</span> : ""}
                </td>
                <td>
                  <details>
                    <summary className="muted">Show</summary>
                    <Json value={cron.payload} open={2} />
                  </details>
                </td>
                <td className="right acts">
                  <button type="button" className="btn" onClick={() => void attempt(() => client.crons.update(cron.cron_id, { enabled: cron.enabled === false }))}>
                    {cron.enabled === false ? "Enable" : "Pause"}
                  </button>
                  <button type="button" className="btn danger" onClick={() => setLeaving(cron)}>
                    Delete
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
      <Top title="Crons" whole>
        {crons.data !== undefined && <span className="faint num">{number(crons.data.length)}</span>}
        <span className="space" />
      </Top>
      <main className="page">
        {problem && (
          <div className="bar bad" role="alert">
            {problem}
          </div>
        )}
        {content}
      </main>
      {leaving !== undefined && (
        <Confirm
          title="Delete this cron?"
          yes="Delete"
          onYes={() => {
            setLeaving(undefined);
            void attempt(() => client.crons.delete(leaving.cron_id));
          }}
          onClose={() => setLeaving(undefined)}
        >
          <code>{leaving.schedule}</code> of {names.get(leaving.assistant_id) ?? leaving.assistant_id} starts no more runs. Runs that it has started stay.
        </Confirm>
      )}
    </>
  );
}

function nextRun(moment: string | null | undefined): string {
  if (!moment) return "never again";
  const ms = Date.parse(moment) - Date.now();
  return ms <= 0 ? "now" : `in ${span(ms)}`;
}
