/** The thread's history: one row a checkpoint, the newest first, with what is running above. Only the rows in view are drawn. */

import type { ThreadState } from "@langchain/langgraph-sdk";
import { useVirtualizer } from "@tanstack/react-virtual";
import { useEffect, useLayoutEffect, useMemo, useRef, useState } from "react";
import { messageOf } from "../../api/client";
import type { RunView } from "../../live/reducer";
import { inFull, number, shortId, span } from "../../parts/format";
import { Json } from "../../parts/json";
import { Bones, Empty } from "../../parts/notices";
import { Status } from "../../parts/status";
import { go, withQuery } from "../../routes";
import { type History, type Step, useHistory } from "./history";

const ROW = 33;
const ROW_IN_DETAIL = 180;
/** So many rows before the end of what is known, more is read. */
const AHEAD = 20;

interface Props {
  threadId: string;
  /** The newest checkpoint: when it changes, the history is read again. */
  head: string;
  run: RunView | undefined;
  detailed: boolean;
  picked: string | null;
  /** Only steps of this node. */
  node: string | null;
}

export function Steps({ threadId, head, run, detailed, picked, node }: Props) {
  const ended = [...(run?.tasks.values() ?? [])].filter((task) => task.ended !== undefined && !task.namespace).length;
  const history = useHistory(threadId, head, run?.phase === "running" ? ended : 0);
  const { steps, error } = history;
  const rows = useMemo(() => steps?.filter((step) => node === null || step.nodes.includes(node.split(":")[0] ?? node)), [steps, node]);
  if (rows === undefined) return error === undefined ? <Bones /> : <p className="inside muted">{messageOf(error)}</p>;
  const active = [...(run?.tasks.values() ?? [])].filter((task) => run?.phase === "running" && task.ended === undefined);

  return (
    <div className="steps">
      {node !== null && (
        <div className="bar">
          <span>
            Steps of <code>{node}</code>
          </span>
          <a className="btn quiet" href={withQuery({ node: null })}>
            Show all
          </a>
        </div>
      )}
      {active.map((task) => (
        <div key={task.id} className="step" style={{ cursor: "default" }}>
          <span className="faint">now</span>
          <Status of="running" />
          <span className="what">
            <code>{[...task.namespace.split("|").filter(Boolean).map((name) => name.split(":")[0]), task.name].join(" › ")}</code>
          </span>
          <span />
        </div>
      ))}
      <Rows rows={rows} history={history} detailed={detailed} picked={picked} />
      {rows.length === 0 && active.length === 0 && !history.more && (
        <Empty icon="runs" title={node === null ? "No steps yet" : "This node took no step"}>
          {node === null ? "Each step of a run leaves a checkpoint, which is shown here." : undefined}
        </Empty>
      )}
      {history.more && <div className="more faint">Reading earlier steps …</div>}
      {error !== undefined && <div className="bar bad">{messageOf(error)}</div>}
    </div>
  );
}

function Rows({ rows, history, detailed, picked }: { rows: Step[]; history: History; detailed: boolean; picked: string | null }) {
  const list = useRef<HTMLDivElement>(null);
  const [margin, setMargin] = useState(0);
  const scroller = () => list.current?.closest<HTMLElement>(".talk") ?? null;
  const virtual = useVirtualizer({
    count: rows.length,
    getScrollElement: scroller,
    estimateSize: () => (detailed ? ROW_IN_DETAIL : ROW),
    getItemKey: (index) => rows[index]?.id ?? index,
    overscan: 8,
    scrollMargin: margin,
  });
  useLayoutEffect(() => {
    const box = scroller();
    if (box === null || list.current === null) return;
    setMargin(Math.round(list.current.getBoundingClientRect().top - box.getBoundingClientRect().top + box.scrollTop));
  });
  // New steps come above those in view, which stay where they are.
  const top = useRef(rows[0]?.id);
  useLayoutEffect(() => {
    const added = rows.findIndex(({ id }) => id === top.current);
    const box = scroller();
    if (added > 0 && box !== null && box.scrollTop > ROW) box.scrollTop += added * (detailed ? ROW_IN_DETAIL : ROW);
    top.current = rows[0]?.id;
  }, [rows]);
  const items = virtual.getVirtualItems();
  const [first, last] = [rows[items[0]?.index ?? 0]?.id, rows[items.at(-1)?.index ?? 0]?.id];
  const atEnd = (items.at(-1)?.index ?? -1) >= rows.length - AHEAD;
  const { show, loadMore, more } = history;
  useEffect(() => show(first, last, detailed), [first, last, detailed]);
  useEffect(() => {
    if (atEnd && more) loadMore();
  }, [atEnd, more, rows.length, history.steps?.length]);

  return (
    <div ref={list} className="virtual" style={{ height: virtual.getTotalSize() }}>
      {items.map(({ index, key, start }) => {
        const step = rows[index];
        return (
          step && (
            <div key={key} ref={virtual.measureElement} data-index={index} style={{ transform: `translateY(${start - margin}px)` }}>
              <StepRow step={step} state={detailed ? history.state(step.id) : undefined} detailed={detailed} on={step.id === picked} />
            </div>
          )
        );
      })}
    </div>
  );
}

/** @param state the checkpoint, when it is shown in detail and was read. */
function StepRow({ step, state, detailed, on }: { step: Step; state: ThreadState | undefined; detailed: boolean; on: boolean }) {
  return (
    <>
      <button type="button" className={`step ${on ? "on" : ""}`} aria-pressed={on} onClick={() => go(withQuery({ cp: on ? null : step.id }), true)}>
        <span className="faint num">{step.step}</span>
        <span className="muted">{step.source}</span>
        <span className="what">
          {step.nodes.map((name) => (
            <code key={name}>{name === "__start__" ? "start" : name}</code>
          ))}
          {step.changed.length > 0 && <span className="faint cut">{step.changed.join(", ")}</span>}
          {step.tokens > 0 && <span className="faint num">{number(step.tokens)} tokens</span>}
          {step.errors.length > 0 && <span className="state error">{step.errors.join(", ")} failed</span>}
          {step.waits && <span className="state interrupted">waits</span>}
          {detailed && <span className="faint mono">{shortId(step.id)}</span>}
        </span>
        <span className="muted num right" title={step.at && inFull(step.at)}>
          {step.took === undefined ? "" : `+${span(step.took)}`}
        </span>
      </button>
      {detailed && (
        <div className="inside" style={{ paddingLeft: 64, borderBottom: "1px solid var(--line)" }}>
          {state === undefined ? (
            <span className="bone" style={{ display: "block", width: "40%" }} />
          ) : (
            <Json
              value={{ checkpoint: state.checkpoint, parent: state.parent_checkpoint?.checkpoint_id ?? null, next: state.next, tasks: state.tasks, metadata: state.metadata }}
            />
          )}
        </div>
      )}
    </>
  );
}
