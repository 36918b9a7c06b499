/** The server: versions, graphs, data and queue, the configuration without secrets, and what failed of late. */

import type { ReactNode } from "react";
import { serverUrl } from "../api/client";
import { type Info, type ServerDetails, getServer, useFeatures, useInfo } from "../api/extras";
import { useQuery } from "../api/query";
import { ago, inFull, number, size } from "../parts/format";
import { Json } from "../parts/json";
import { Bones, Failure } from "../parts/notices";
import { Status } from "../parts/status";
import { Top } from "../parts/top";
import { href } from "../routes";

const POLL_MS = 5_000;

export function ServerPage() {
  const info = useInfo();
  const announced = useFeatures().server;
  const details = useQuery(announced ? "server" : null, getServer, POLL_MS);
  let content: ReactNode;
  if (info.error !== undefined) content = <Failure error={info.error} what="The server tells nothing of itself" retry={info.reload} />;
  else if (info.data === undefined || details.loading) content = <Bones rows={6} />;
  else content = <Details info={info.data} details={details.data} />;
  return (
    <>
      <Top title="Server">
        <span className="space" />
        <a className="btn" href={`${serverUrl}/docs`}>
          Interface
        </a>
        <a className="btn" href={`${serverUrl}/metrics`}>
          Figures
        </a>
      </Top>
      <main className="page">
        {details.error !== undefined && <Failure error={details.error} what="The details of the server cannot be read" retry={details.reload} />}
        <div className="sections">{content}</div>
      </main>
    </>
  );
}

function Details({ info, details }: { info: Info; details: ServerDetails | undefined }) {
  const versions = details?.versions ?? { server: info.version, langgraph: info.langgraph_py_version ?? "unknown" };
  return (
    <>
      <Section title="Versions">
        <Pairs
          pairs={[
            ["Address", <span className="mono">{serverUrl}</span>],
            ...Object.entries(versions).map(([name, version]): Pair => [name, <span className="num">{version}</span>]),
            ...(details ? [["Started", <span title={inFull(details.started_at)}>{ago(details.started_at)}</span>] as Pair] : []),
          ]}
        />
      </Section>
      {details !== undefined && (
        <>
          <Section title="Runs and data">
            <Pairs
              pairs={[
                ["Running", <span className="num">{`${number(details.queue["n_running"] ?? 0)} of ${number(details.workers.max)} at once`}</span>],
                ["Queued", <span className="num">{number(details.queue["n_pending"] ?? 0)}</span>],
                ...Object.entries(details.storage).map(([name, value]): Pair => [
                  name[0]?.toUpperCase() + name.slice(1),
                  name === "bytes" && typeof value === "number" ? <span className="num">{size(value)}</span> : <span className="mono">{String(value)}</span>,
                ]),
              ]}
            />
          </Section>
          <Section title="Graphs">
            <Pairs
              pairs={details.graphs.map(({ graph_id, path }): Pair => [
                <a href={href(["threads"], { graph: graph_id })}>{graph_id}</a>,
                <span className="mono muted">{path}</span>,
              ])}
            />
          </Section>
          <Section title="Failures">
            {details.failures.length === 0 && <p className="inside muted">Nothing has failed since the start.</p>}
            {details.failures.map((failure, index) => (
              <details className="fold" key={index} style={{ margin: "8px 12px" }}>
                <summary>
                  <Status of="error" className="unworded" />
                  <span className="cut">{failure.event ?? failure.level}</span>
                  <span className="space" />
                  <span className="faint num">{failure.timestamp ? ago(failure.timestamp) : ""}</span>
                </summary>
                <div className="body">
                  {failure.thread_id !== undefined && (
                    <p>
                      <a className="btn" href={href(["threads", failure.thread_id])}>
                        Open the thread
                      </a>
                    </p>
                  )}
                  {failure.exception ? <pre className="code">{failure.exception}</pre> : <Json value={failure} />}
                </div>
              </details>
            ))}
          </Section>
          <Section title="Configuration">
            <div className="inside">
              <Json value={{ configuration: details.configuration, environment: details.environment }} open={2} />
            </div>
          </Section>
        </>
      )}
      <Section title="Features">
        <div className="inside">
          <Json value={info.flags ?? {}} />
        </div>
      </Section>
    </>
  );
}

type Pair = [ReactNode, ReactNode];

function Pairs({ pairs }: { pairs: Pair[] }) {
  return (
    <div className="kv wide-keys">
      {pairs.flatMap(([name, value], index) => [<div key={`${index} name`}>{name}</div>, <div key={`${index} value`}>{value}</div>])}
    </div>
  );
}

function Section({ title, children }: { title: string; children: ReactNode }) {
  return (
    <section className="section" aria-label={title}>
      <h2>{title}</h2>
      {children}
    </section>
  );
}
