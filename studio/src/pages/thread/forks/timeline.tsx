/**
 * The checkpoints of a thread as lanes, as commits are drawn. Rows are read in pages as they come into view and kept without
 * values; the state pane reads the values of the picked one.
 */

import type { ThreadState } from "@langchain/langgraph-sdk";
import { useVirtualizer } from "@tanstack/react-virtual";
import { useEffect, useMemo, useRef, useState } from "react";
import { client, messageOf } from "../../../api/client";
import { type ForkedFrom, type Lineage, getLineage } from "../../../api/extras";
import { useQuery } from "../../../api/query";
import { type LaneRow, lanesOf, widthOf } from "../../../draw/lanes";
import { inFull, number, shortId, span } from "../../../parts/format";
import { Icon } from "../../../parts/icons";
import { useKeys } from "../../../parts/keys";
import { Bones, Empty, Failure } from "../../../parts/notices";
import { go, href, withQuery } from "../../../routes";
import type { Forks } from "./actions";

const PAGE = 50;
const SELECT = ["next", "tasks", "metadata", "created_at", "checkpoint", "parent_checkpoint"] as const;
const ROW = 44;
const COLUMN = 18;
const AHEAD = 20;
/** A checkpoint that an address names is looked for among so many. */
const SOUGHT = 2_000;

/** What is kept of a checkpoint. */
interface Row {
  id: string;
  parent: string | null;
  step: string;
  source: string;
  created: string;
  next: string[];
  failed: string[];
  waits: boolean;
  /** What ran between its parent and it is among the parent's tasks. */
  tasks: string[];
}

interface Props {
  forks: Forks;
  /** The newest checkpoint: when it changes, the history is read again. */
  head: string;
  picked: string | null;
  forkedFrom: ForkedFrom | undefined;
}

export default function Timeline({ forks, head, picked, forkedFrom }: Props) {
  const { rows, more, error, loading, next } = useRows(forks.threadId, head);
  const lanes = useMemo(() => lanesOf(rows ?? []), [rows]);
  const columns = widthOf(lanes);
  const byId = useMemo(() => new Map((rows ?? []).map((row) => [row.id, row])), [rows]);
  const lineage = useQuery(forks.features.lineage ? `lineage ${forks.threadId}` : null, () => getLineage(forks.threadId)).data;
  const copies = useMemo(() => copiesOf(lineage, forks.threadId), [lineage, forks.threadId]);
  const box = useRef<HTMLDivElement>(null);
  const virtual = useVirtualizer({ count: (rows?.length ?? 0) + (more ? 1 : 0), getScrollElement: () => box.current, estimateSize: () => ROW, overscan: 8 });
  const items = virtual.getVirtualItems();
  const last = items.at(-1)?.index ?? 0;
  useEffect(() => {
    if (more && !loading && rows !== undefined && last >= rows.length - AHEAD) next();
  }, [last, more, loading, rows?.length]);

  // An address names a checkpoint: it is looked for, and shown.
  const sought = useRef(picked);
  useEffect(() => {
    if (sought.current === null || rows === undefined || loading) return;
    const place = rows.findIndex((row) => row.id === sought.current);
    if (place < 0 && more && rows.length < SOUGHT) return next();
    sought.current = null;
    if (place >= 0) virtual.scrollToIndex(place, { align: "center" });
  }, [rows, loading]);

  const at = rows?.findIndex((row) => row.id === picked) ?? -1;
  const move = (by: number) => {
    const row = rows?.[at < 0 ? 0 : Math.max(0, Math.min((rows?.length ?? 1) - 1, at + by))];
    if (row === undefined) return;
    go(withQuery({ cp: row.id }), true);
    virtual.scrollToIndex(rows?.indexOf(row) ?? 0);
  };
  useKeys([
    { key: "j", label: "Checkpoint before", run: () => move(1) },
    { key: "k", label: "Checkpoint after", run: () => move(-1) },
  ]);

  if (rows === undefined) return error === undefined ? <Bones /> : <Failure error={error} what="The history cannot be read" retry={next} />;
  if (rows.length === 0) {
    return (
      <Empty icon="runs" title="No checkpoints yet">
        Each step of a run leaves a checkpoint, which is drawn here.
      </Empty>
    );
  }
  const total = forks.map?.checkpoints;
  return (
    <div className="timeline">
      <div className="bar">
        <span className="muted num">
          {total === undefined || total < rows.length ? number(rows.length) : more ? `${number(rows.length)} of ${number(total)}` : number(total)} checkpoints
        </span>
        {error !== undefined && <span role="alert">{messageOf(error)}</span>}
      </div>
      <div ref={box} className="scroll" role="list" aria-label="Checkpoints" tabIndex={0}>
        <div style={{ height: virtual.getTotalSize() }} role="presentation">
          {items.map(({ index, start }) => {
            const row = rows[index];
            const lane = lanes[index];
            return (
              <div key={index} role="listitem" className="node" style={{ transform: `translateY(${start}px)` }} aria-setsize={total ?? -1} aria-posinset={index + 1}>
                {row === undefined || lane === undefined ? (
                  <span className="bone" style={{ width: "40%" }} />
                ) : (
                  <Checkpoint
                    row={row}
                    lane={lane}
                    columns={columns}
                    parent={byId.get(row.parent ?? "")}
                    on={row.id === picked}
                    isHead={row.id === head}
                    tags={forks.tags.filter((tag) => tag.checkpoint_id === row.id).map((tag) => tag.name)}
                    copies={copies.get(row.id) ?? []}
                    from={forkedFrom?.checkpoint_id === row.id ? forkedFrom : undefined}
                  />
                )}
              </div>
            );
          })}
        </div>
      </div>
    </div>
  );
}

interface CheckpointProps {
  row: Row;
  lane: LaneRow;
  columns: number;
  parent: Row | undefined;
  on: boolean;
  tags: string[];
  copies: string[];
  /** Where the thread came from, if this is the last checkpoint that it took along. */
  from: ForkedFrom | undefined;
  isHead: boolean;
}

function Checkpoint({ row, lane, columns, parent, on, tags, copies, from, isHead }: CheckpointProps) {
  const took = Date.parse(row.created) - Date.parse(parent?.created ?? "");
  const nodes = row.source === "loop" ? [...new Set(parent?.tasks ?? [])] : [];
  const words = nodes.length > 0 ? nodes.map((name) => (name === "__start__" ? "start" : name)).join(", ") : (SOURCES[row.source] ?? row.source);
  return (
    <>
      <button type="button" className={`checkpoint ${on ? "on" : ""}`} aria-pressed={on} onClick={() => go(withQuery({ cp: on ? null : row.id }), true)}>
        <Lanes lane={lane} columns={columns} />
        <span className="what">
          <span className="cut">
            {words}
            {row.failed.length > 0 && <span className="state error">{row.failed.join(", ")} failed</span>}
            {row.waits && <span className="state interrupted">waits</span>}
            {isHead && <span className="tag">newest</span>}
            {tags.map((name) => (
              <span key={name} className="tag named">
                {name}
              </span>
            ))}
          </span>
          <span className="faint cut num">
            step {row.step}
            {Number.isNaN(took) ? "" : ` · +${span(took)}`} · <span className="mono">{shortId(row.id)}</span>
          </span>
        </span>
        <span className="faint num right hide">{row.created ? inFull(row.created) : ""}</span>
      </button>
      {(copies.length > 0 || from !== undefined) && (
        <span className="left-here">
          {from !== undefined && (
            <a className="tag" href={href(["threads", from.thread_id], { view: "timeline", cp: from.checkpoint_id })}>
              <Icon name="copies" small /> from {shortId(from.thread_id)}
            </a>
          )}
          {copies.length > 0 && (
            <a className="tag" href={copies.length === 1 ? href(["threads", copies[0] ?? ""]) : withQuery({ view: "lineage" })}>
              <Icon name="copies" small /> {copies.length === 1 ? `copy ${shortId(copies[0] ?? "")}` : `${number(copies.length)} copies`}
            </a>
          )}
        </span>
      )}
    </>
  );
}

const SOURCES: Record<string, string> = { input: "input", update: "state edited", fork: "run again from here" };

/** The lines and the dot of one row. */
export function Lanes({ lane, columns }: { lane: Pick<LaneRow, "lane" | "above" | "through" | "below">; columns: number }) {
  const x = (column: number) => 12 + column * COLUMN;
  const middle = ROW / 2;
  return (
    <svg className="pic lanes" width={x(columns - 1) + 12} height={ROW} aria-hidden="true">
      {lane.through.map((column) => (
        <path key={column} className={`edge on${column % 4}`} d={`M${x(column)} 0V${ROW}`} />
      ))}
      {lane.above.map((column) => (
        <path key={`above ${column}`} className={`edge on${column % 4}`} d={column === lane.lane ? `M${x(column)} 0V${middle}` : `M${x(column)} 0C${x(column)} ${middle} ${x(lane.lane)} 4 ${x(lane.lane)} ${middle}`} />
      ))}
      {lane.below && <path className={`edge on${lane.lane % 4}`} d={`M${x(lane.lane)} ${middle}V${ROW}`} />}
      <circle className={`dot on${lane.lane % 4}`} cx={x(lane.lane)} cy={middle} r={5} />
    </svg>
  );
}

function rowOf(state: ThreadState): Row {
  const { step, source } = (state.metadata ?? {}) as { step?: number; source?: string };
  return {
    id: state.checkpoint.checkpoint_id ?? "",
    parent: state.parent_checkpoint?.checkpoint_id ?? null,
    step: step === undefined ? "" : String(step),
    source: source ?? "",
    created: state.created_at ?? "",
    next: state.next,
    failed: state.tasks.filter((task) => task.error).map((task) => task.name),
    waits: state.tasks.some((task) => (task.interrupts ?? []).length > 0),
    tasks: state.tasks.map((task) => task.name),
  };
}

/** The rows that were read, the newest first. A page's states are dropped when its rows are made. */
function useRows(threadId: string, head: string) {
  const [rows, setRows] = useState<Row[] | undefined>(undefined);
  const [more, setMore] = useState(false);
  const [loading, setLoading] = useState(false);
  const [error, setError] = useState<unknown>(undefined);
  const stop = useRef(new AbortController());
  const latest = useRef<Row[] | undefined>(undefined);

  const read = async (before: Row | undefined, { signal }: AbortController) => {
    setLoading(true);
    try {
      const page = await client.threads.getHistory(threadId, {
        limit: PAGE,
        select: [...SELECT] as never,
        ...(before ? { before: { configurable: { checkpoint_id: before.id } } as never } : {}),
        signal,
      });
      if (signal.aborted) return;
      const found = page.map(rowOf);
      // What is new is put before what is known, where the two meet.
      const meets = before === undefined && page.length === PAGE ? (latest.current?.findIndex((row) => row.id === found.at(-1)?.id) ?? -1) : -1;
      const known = latest.current ?? [];
      latest.current = before !== undefined ? [...known, ...found] : meets >= 0 ? [...found, ...known.slice(meets + 1)] : found;
      setRows(latest.current);
      if (meets < 0) setMore(page.length === PAGE);
      setError(undefined);
    } catch (error) {
      if (!signal.aborted) setError(error);
    } finally {
      if (!signal.aborted) setLoading(false);
    }
  };
  useEffect(() => {
    stop.current = new AbortController();
    const mine = stop.current;
    void read(undefined, mine);
    return () => mine.abort();
  }, [threadId, head]);
  return { rows, more, loading, error, next: () => void read(rows?.at(-1), stop.current) };
}

/** Direct copies by the checkpoint that they left at. */
function copiesOf(lineage: Lineage | undefined, threadId: string): Map<string, string[]> {
  const found = new Map<string, string[]>();
  for (const one of lineage?.threads ?? []) {
    if (one.parent !== threadId || one.thread_id === null || one.checkpoint_id === null) continue;
    found.set(one.checkpoint_id, [...(found.get(one.checkpoint_id) ?? []), one.thread_id]);
  }
  return found;
}
