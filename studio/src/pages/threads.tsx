/** All threads: search, filters, rows that are drawn only while they are in view, and what is done with several at once. */

import { useVirtualizer } from "@tanstack/react-virtual";
import { type ReactNode, memo, useCallback, useEffect, useRef, useState } from "react";
import { client, messageOf } from "../api/client";
import { useFeatures } from "../api/extras";
import { useQuery } from "../api/query";
import { type ThreadFilter, type ThreadRow, useThreadList } from "../api/thread-list";
import { Confirm } from "../parts/dialog";
import { ago, inFull, number, shortId } from "../parts/format";
import { Icon } from "../parts/icons";
import { useKeys } from "../parts/keys";
import { Bones, Empty, Failure } from "../parts/notices";
import { Status } from "../parts/status";
import { ThreadSize } from "../parts/thread-size";
import { Top } from "../parts/top";
import { go, href, noteList, useRoute, withQuery } from "../routes";

const STATUSES = { idle: "idle", busy: "busy", interrupted: "waits", error: "error" };
const TIMES = { 1: "last hour", 24: "last day", 168: "last week", 720: "last 30 days" };
const AT_ONCE = 1_000;

export function ThreadsPage() {
  const { query } = useRoute();
  const filter: ThreadFilter = {
    status: query.get("status") ?? "",
    graph: query.get("graph") ?? "",
    text: query.get("q") ?? "",
    hours: Number(query.get("hours")) || 0,
  };
  const list = useThreadList(filter, useFeatures().forkedFrom);
  const graphs = useGraphs();
  const [chosen, setChosen] = useState<ReadonlySet<string>>(new Set());
  const [cursor, setCursor] = useState(0);
  const [asking, setAsking] = useState(false);
  const [problem, setProblem] = useState("");
  const field = useRef<HTMLInputElement>(null);
  useEffect(noteList, [query.toString()]);
  const filtered = Boolean(filter.status || filter.graph || filter.text || filter.hours);

  useEffect(() => {
    if (list.total !== undefined) setCursor((now) => Math.max(0, Math.min(now, list.total! - 1)));
  }, [list.total]);

  const move = (by: number) => setCursor((now) => Math.max(0, Math.min((list.total ?? 1) - 1, now + by)));
  const toggle = useCallback((row: ThreadRow | undefined) => row && setChosen((before) => toggled(before, row.id)), []);
  const picked = () => (chosen.size > 0 ? [...chosen] : [list.row(cursor)?.id].filter((id) => id !== undefined));
  const attempt = async (work: () => Promise<unknown>) => {
    setProblem("");
    try {
      await work();
      setChosen(new Set());
    } catch (error) {
      setProblem(messageOf(error));
    }
    list.reload();
  };
  const copy = () =>
    attempt(async () => {
      for (const id of picked()) await client.threads.copy(id);
      setCursor(0);
    });
  const remove = () =>
    attempt(async () => {
      setAsking(false);
      const ids = picked();
      for (let at = 0; at < ids.length; at += AT_ONCE) await client.threads.prune(ids.slice(at, at + AT_ONCE));
    });

  useKeys([
    { key: "/", label: "Search", run: () => field.current?.focus() },
    { key: "j", label: "Next thread", run: () => move(1) },
    { key: "k", label: "Thread before", run: () => move(-1) },
    { key: "Enter", label: "Open", run: () => open(list.row(cursor)) },
    { key: "x", label: "Select", run: () => toggle(list.row(cursor)) },
    { key: "c", label: "Copy", run: copy },
    { key: "d", label: "Delete", run: () => picked().length > 0 && setAsking(true) },
    { key: "n", label: "New thread", run: () => go(href(["threads", "new"])) },
    { key: "Escape", label: "Select nothing", run: () => setChosen(new Set()) },
  ]);

  let content: ReactNode;
  if (list.total === undefined) {
    content = list.error === undefined ? <Bones rows={12} /> : <Failure error={list.error} what="The threads cannot be read" retry={list.reload} />;
  } else if (list.total === 0 && list.read === undefined) {
    content = filtered ? (
      <Empty icon="search" title="No thread matches" action={<a className="btn" href={href(["threads"])}>Show all</a>} />
    ) : (
      <Empty icon="threads" title="No threads yet" action={<a className="btn main" href={href(["threads", "new"])}>New thread</a>}>
        A thread keeps the state of one conversation or task. Start one here, or let a client of the API make one.
      </Empty>
    );
  } else {
    content = <Rows list={list} cursor={cursor} onCursor={setCursor} chosen={chosen} onToggle={toggle} />;
  }

  return (
    <>
      <Top title="Threads" whole>
        <span className="faint num hide">{list.isCounted ? number(list.total ?? 0) : ""}</span>
        <span className="space" />
        <label className="field" style={{ flex: "0 1 280px" }}>
          <Icon name="search" small />
          <span className="unseen">Search</span>
          <input
            ref={field}
            value={filter.text}
            placeholder="Title, id, key=value"
            spellCheck={false}
            onChange={(event) => change("q", event.target.value)}
            onKeyDown={(event) => event.key === "Escape" && event.currentTarget.blur()}
          />
          <kbd className="hide">/</kbd>
        </label>
        <span className="hide" style={{ display: "flex", gap: 8 }}>
          <Filters filter={filter} graphs={graphs} />
        </span>
        <a className="btn main" href={href(["threads", "new"], { graph: filter.graph })}>
          New<span className="hide">thread</span>
        </a>
      </Top>
      <main className="page list">
        <div className="bar narrow">
          <Filters filter={filter} graphs={graphs} />
        </div>
        {chosen.size > 0 && (
          <div className="bar">
            <b className="num">{number(chosen.size)} selected</b>
            <button type="button" className="btn" onClick={copy}>
              Copy
            </button>
            <button type="button" className="btn danger" onClick={() => setAsking(true)}>
              Delete
            </button>
            <button type="button" className="btn quiet" onClick={() => setChosen(new Set())}>
              Select nothing
            </button>
          </div>
        )}
        {list.read !== undefined && (
          <div className="bar" role="status">
            <span className="muted num">
              Searched {number(list.read.done)} of {number(list.read.of)} threads
            </span>
          </div>
        )}
        {problem && (
          <div className="bar bad" role="alert">
            {problem}
          </div>
        )}
        {list.error !== undefined && list.total !== undefined && (
          <div className="bar bad" role="alert">
            {messageOf(list.error)} These are the threads of a moment ago.
          </div>
        )}
        {content}
      </main>
      {asking && (
        <Confirm
          title={picked().length === 1 ? "Delete this thread?" : `Delete ${number(picked().length)} threads?`}
          yes="Delete"
          onYes={remove}
          onClose={() => setAsking(false)}
        >
          Their runs, states and history are removed. Copies of them stay. This cannot be undone.
        </Confirm>
      )}
    </>
  );
}

interface RowsProps {
  list: ReturnType<typeof useThreadList>;
  cursor: number;
  onCursor: (index: number) => void;
  chosen: ReadonlySet<string>;
  onToggle: (row: ThreadRow | undefined) => void;
}

function Rows({ list, cursor, onCursor, chosen, onToggle }: RowsProps) {
  const box = useRef<HTMLDivElement>(null);
  const canSize = useFeatures().storage;
  const [sized, setSized] = useState(false);
  const narrow = matchMedia("(max-width: 640px)").matches;
  const rows = useVirtualizer({
    count: list.total ?? 0,
    getScrollElement: () => box.current,
    estimateSize: () => (narrow ? 48 : 32),
    overscan: 12,
  });
  const items = rows.getVirtualItems();
  const first = items[0]?.index ?? 0;
  const last = items.at(-1)?.index ?? 0;
  const { show } = list;
  useEffect(() => show(first, last), [first, last, list.total]);
  useEffect(() => rows.scrollToIndex(cursor), [cursor]);

  return (
    <>
      <div className={`line head hide ${sized ? "sized" : ""}`}>
        <span />
        <span>Status</span>
        <span>Thread</span>
        <span className="graph">Graph</span>
        <span className="copies">
          Copies
          {canSize && (
            <button type="button" className="btn quiet sizes" aria-pressed={sized} onClick={() => setSized(!sized)}>
              {sized ? "Hide sizes" : "Sizes"}
            </button>
          )}
        </span>
        {sized && <span className="right">Size</span>}
        <span className="right">Updated</span>
      </div>
      <div ref={box} className={`lines ${chosen.size > 0 ? "choosing" : ""} ${sized ? "sized" : ""}`} role="grid" aria-label="Threads" aria-rowcount={list.total} tabIndex={0}>
        <div style={{ height: rows.getTotalSize() }} role="rowgroup">
          {items.map(({ index, start }) => {
            const row = list.row(index);
            return (
              <div
                key={index}
                className={`line ${index === cursor ? "on" : ""}`}
                style={{ transform: `translateY(${start}px)` }}
                role="row"
                aria-rowindex={index + 1}
                aria-selected={row !== undefined && chosen.has(row.id)}
                onClick={(event) => {
                  onCursor(index);
                  if (row !== undefined && !(event.target instanceof HTMLInputElement)) open(row, event.ctrlKey || event.metaKey);
                }}
              >
                {row === undefined ? <Waiting index={index} /> : <Cells row={row} chosen={chosen.has(row.id)} sized={sized} onToggle={onToggle} />}
              </div>
            );
          })}
        </div>
      </div>
    </>
  );
}

/** Kept as they are while the list scrolls. */
const Cells = memo(function Cells({ row, chosen, sized, onToggle }: { row: ThreadRow; chosen: boolean; sized: boolean; onToggle: (row: ThreadRow) => void }) {
  return (
    <>
      <span role="gridcell" className="choose">
        <input type="checkbox" className="tick" tabIndex={-1} checked={chosen} onChange={() => onToggle(row)} aria-label={`Select ${row.title || row.id}`} />
      </span>
      <span role="gridcell">
        <Status of={row.status} />
      </span>
      <span role="gridcell" className="cut">
        <a href={href(["threads", row.id])} tabIndex={-1} onClick={(event) => event.preventDefault()}>
          {row.title || <span className="muted mono">{shortId(row.id)}</span>}
        </a>
        {row.status === "interrupted" && <span className="sub hide">waits for an answer</span>}
      </span>
      <span role="gridcell" className="muted cut graph">
        {row.graph}
      </span>
      <span role="gridcell" className="faint cut copies">
        {row.forkedFrom !== undefined && (
          <>
            <Icon name="copies" small /> copy of {shortId(row.forkedFrom.thread_id)}
          </>
        )}
      </span>
      {sized && <ThreadSize key={row.id} id={row.id} updated={row.updated} />}
      <span role="gridcell" className="muted num right" title={inFull(row.updated)}>
        {ago(row.updated)}
      </span>
    </>
  );
});

function Waiting({ index }: { index: number }) {
  return (
    <>
      <span className="choose" role="gridcell" />
      <span role="gridcell">
        <span className="bone" style={{ width: 56, display: "block" }} />
      </span>
      <span role="gridcell">
        <span className="bone" style={{ width: `${[38, 52, 30, 44][index % 4]}%`, display: "block" }} />
      </span>
    </>
  );
}

function Filters({ filter, graphs }: { filter: ThreadFilter; graphs: string[] }) {
  return (
    <>
      <Choice label="Status" value={filter.status} options={STATUSES} onChange={(value) => change("status", value)} />
      <Choice label="Graph" value={filter.graph} options={Object.fromEntries(graphs.map((graph) => [graph, graph]))} onChange={(value) => change("graph", value)} />
      <Choice label="Time" value={filter.hours ? String(filter.hours) : ""} options={TIMES} onChange={(value) => change("hours", value)} />
    </>
  );
}

function Choice(props: { label: string; value: string; options: Record<string, string>; onChange: (value: string) => void }) {
  return (
    <select
      className={`field ${props.value ? "set" : ""}`}
      aria-label={props.label}
      value={props.value}
      onChange={(event) => props.onChange(event.target.value)}
    >
      <option value="">{props.label}: any</option>
      {Object.entries(props.options).map(([value, word]) => (
        <option key={value} value={value}>
          {word}
        </option>
      ))}
    </select>
  );
}

/** The names of all graphs, from their assistants. */
export function useGraphs(): string[] {
  const assistants = useQuery("assistants", () => client.assistants.search({ limit: 1000 })).data ?? [];
  return [...new Set(assistants.map((assistant) => assistant.graph_id))].sort();
}

function change(name: string, value: string): void {
  go(withQuery({ [name]: value || null }), true);
}

function open(row: ThreadRow | undefined, inNewTab = false): void {
  if (row === undefined) return;
  const address = href(["threads", row.id]);
  if (inNewTab) window.open(address, "_blank");
  else go(address);
}

function toggled(set: ReadonlySet<string>, id: string): Set<string> {
  const next = new Set(set);
  if (!next.delete(id)) next.add(id);
  return next;
}
