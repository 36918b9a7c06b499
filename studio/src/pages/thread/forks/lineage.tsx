/** The tree of copies that a thread belongs to. */

import { useVirtualizer } from "@tanstack/react-virtual";
import { useEffect, useMemo, useRef, useState } from "react";
import { type LineageThread, getLineage } from "../../../api/extras";
import { useQuery } from "../../../api/query";
import { type TreeRow, treeOf } from "../../../draw/tree";
import { ago, inFull, number, shortId } from "../../../parts/format";
import { useKeys } from "../../../parts/keys";
import { Bones, Failure } from "../../../parts/notices";
import { Status } from "../../../parts/status";
import { go, href, withQuery } from "../../../routes";
import type { Forks } from "./actions";
import { titled } from "./dialogs";

const ROW = 48;
const POLL_MS = 15_000;

export default function LineagePage({ forks, title }: { forks: Forks; title: string }) {
  const { threadId } = forks;
  const { data, error, reload } = useQuery(`lineage ${threadId}`, () => getLineage(threadId), POLL_MS);
  const threads = data?.threads ?? [];
  const rows = useMemo(() => treeOf(threads, threadId, matchMedia("(max-width: 640px)").matches ? 5 : 12), [data, threadId]);
  const columns = rows.reduce((most, row) => Math.max(most, row.lane + 1), 1);
  const here = threads.findIndex((one) => one.thread_id === threadId);
  const [cursor, setCursor] = useState(-1);
  const at = cursor < 0 ? here : cursor;
  const box = useRef<HTMLDivElement>(null);
  const virtual = useVirtualizer({ count: threads.length, getScrollElement: () => box.current, estimateSize: () => ROW, overscan: 8 });
  const known = data !== undefined;
  useEffect(() => {
    if (known && here >= 0) virtual.scrollToIndex(here);
  }, [known]);
  const move = (by: number) => {
    const next = Math.max(0, Math.min(threads.length - 1, at + by));
    setCursor(next);
    virtual.scrollToIndex(next);
  };
  const picked = threads[at];
  useKeys([
    { key: "j", label: "Next thread", run: () => move(1) },
    { key: "k", label: "Thread before", run: () => move(-1) },
    { key: "Enter", label: "Open", run: () => picked?.thread_id && !picked.deleted && go(href(["threads", picked.thread_id], { view: "lineage" })) },
    { key: "=", label: "Compare with this thread", run: () => picked?.thread_id && !picked.deleted && go(withQuery({ view: "compare", vs: picked.thread_id })) },
  ]);

  if (data === undefined) return error === undefined ? <Bones /> : <Failure error={error} what="The copies cannot be read" retry={reload} />;
  const copies = threads.length - 1;
  return (
    <div className="timeline lineage">
      <div className="bar">
        <span className="muted">
          {copies === 0 ? "No copies: nothing was copied from this thread, and it is no copy." : `${number(threads.length)} threads that descend from one`}
          {data.truncated && ". There are more than are shown."}
        </span>
      </div>
      <div ref={box} className="scroll" role="list" aria-label="Lineage" tabIndex={0}>
        <div style={{ height: virtual.getTotalSize() }} role="presentation">
          {virtual.getVirtualItems().map(({ index, start }) => {
            const one = threads[index];
            const row = rows[index];
            if (one === undefined || row === undefined) return null;
            return (
              <div key={index} role="listitem" className={`node ${index === at ? "on" : ""}`} style={{ transform: `translateY(${start}px)` }} aria-current={one.thread_id === threadId ? "true" : undefined}>
                <Branch row={row} columns={columns} one={one} />
                <Words one={one} isHere={one.thread_id === threadId} title={title} canCompare={forks.features.compare} />
              </div>
            );
          })}
        </div>
      </div>
    </div>
  );
}

function Words({ one, isHere, title, canCompare }: { one: LineageThread; isHere: boolean; title: string; canCompare: boolean }) {
  if (one.thread_id === null) return <span className="what faint">A thread that is not yours to see</span>;
  const name = titled(one.metadata) || (isHere ? title : shortId(one.thread_id));
  const left = one.checkpoint_id === null || one.parent === null ? undefined : href(["threads", one.parent], { view: "timeline", cp: one.checkpoint_id });
  return (
    <>
      <span className="what">
        <span className="cut">
          {one.deleted ? (
            <span className="muted">{name} (deleted)</span>
          ) : (
            <a href={href(["threads", one.thread_id])} className={isHere ? "here-name" : ""}>
              {name}
            </a>
          )}
          {isHere && <span className="tag named">this thread</span>}
        </span>
        <span className="faint cut">
          {one.status !== undefined && one.status !== null && <Status of={one.status} />}
          {one.at !== null && (
            <span title={inFull(one.at)}>
              {one.status ? " · " : ""}copied {ago(one.at) === "now" ? "just now" : `${ago(one.at)} ago`}
              {one.checkpoint_id !== null && " at "}
            </span>
          )}
          {left !== undefined && (
            <a className="mono" href={left}>
              {shortId(one.checkpoint_id ?? "")}
            </a>
          )}
        </span>
      </span>
      {canCompare && !one.deleted && !isHere && (
        <a className="btn quiet" href={withQuery({ view: "compare", vs: one.thread_id, cp: null })}>
          Compare
        </a>
      )}
    </>
  );
}

const COLUMN = 22;
const MIDDLE = ROW / 2;

/** The lines and the dot of one thread. */
function Branch({ row, columns, one }: { row: TreeRow; columns: number; one: LineageThread }) {
  const x = (lane: number) => 14 + lane * COLUMN;
  const from = Math.max(0, row.lane - 1);
  const hot = row.hot ? "hot" : "";
  const hollow = one.deleted || one.thread_id === null;
  return (
    <svg className="pic lanes" width={x(columns - 1) + 14} height={ROW} aria-hidden="true">
      {row.through.map((lane) => (
        <path key={lane} className="edge" d={`M${x(lane)} 0V${ROW}`} />
      ))}
      {row.parentGoesOn && <path className="edge" d={`M${x(from)} 0V${ROW}`} />}
      {one.depth > 0 && <path className={`edge ${hot}`} d={`M${x(from)} 0C${x(from)} ${MIDDLE} ${x(from) + 6} ${MIDDLE} ${x(row.lane)} ${MIDDLE}`} />}
      {row.leavesHere && <circle className="joint" cx={x(from)} cy={2} r={2.5} />}
      {row.below && <path className={`edge ${hot}`} d={`M${x(row.lane)} ${MIDDLE}V${ROW}`} />}
      <circle className={`dot ${hollow ? "hollow" : ""} ${hot}`} cx={x(row.lane)} cy={MIDDLE} r={6} />
    </svg>
  );
}
