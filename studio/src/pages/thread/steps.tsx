/** The thread's history: one row a checkpoint, the newest first, with what is running above. Values are read only of the picked one. */

import type { ThreadState } from "@langchain/langgraph-sdk";
import { useEffect, useState } from "react";
import { client, messageOf } from "../../api/client";
import type { RunView } from "../../live/reducer";
import { inFull, shortId, span } from "../../parts/format";
import { Json } from "../../parts/json";
import { Bones, Empty } from "../../parts/notices";
import { Status } from "../../parts/status";
import { go, withQuery } from "../../routes";

const PAGE = 50;
const SELECT = ["next", "tasks", "metadata", "created_at", "checkpoint", "parent_checkpoint"] as const;

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
  const { states, more, error, loadMore } = useHistory(threadId, head);
  if (states === undefined) return error === undefined ? <Bones /> : <p className="inside muted">{messageOf(error)}</p>;
  const byId = new Map(states.map((state) => [state.checkpoint.checkpoint_id, state]));
  const active = [...(run?.tasks.values() ?? [])].filter((task) => run?.phase === "running" && task.ended === undefined);
  const rows = states.map((state) => stepOf(state, byId.get(state.parent_checkpoint?.checkpoint_id ?? ""))).filter((step) => node === null || step.nodes.includes(node.split(":")[0] ?? node));

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
      {rows.map((step) => (
        <StepRow key={step.id} step={step} detailed={detailed} on={step.id === picked} />
      ))}
      {rows.length === 0 && active.length === 0 && (
        <Empty icon="runs" title={node === null ? "No steps yet" : "This node took no step"}>
          {node === null ? "Each step of a run leaves a checkpoint, which is shown here." : undefined}
        </Empty>
      )}
      {more && (
        <div className="more">
          <button type="button" className="btn" onClick={loadMore}>
            Earlier steps
          </button>
        </div>
      )}
      {error !== undefined && <div className="bar bad">{messageOf(error)}</div>}
    </div>
  );
}

interface Step {
  id: string;
  step: string;
  source: string;
  nodes: string[];
  changed: string[];
  errors: string[];
  waits: boolean;
  next: string[];
  took: number | undefined;
  state: ThreadState;
}

/** A row: a checkpoint was written by the tasks that its parent had planned. */
function stepOf(state: ThreadState, parent: ThreadState | undefined): Step {
  const { step, source } = (state.metadata ?? {}) as { step?: number; source?: string };
  const written = source === "loop" ? (parent?.tasks ?? []) : [];
  const at = Date.parse(state.created_at ?? "");
  const before = Date.parse(parent?.created_at ?? "");
  return {
    id: state.checkpoint.checkpoint_id ?? "",
    step: step === undefined ? "" : String(step),
    source: source ?? "",
    nodes: written.length > 0 ? [...new Set(written.map((task) => task.name))] : [],
    changed: [...new Set(written.flatMap((task) => (typeof task.result === "object" && task.result !== null ? Object.keys(task.result) : [])))],
    errors: state.tasks.filter((task) => task.error).map((task) => task.name),
    waits: state.tasks.some((task) => (task.interrupts ?? []).length > 0),
    next: state.next,
    took: Number.isNaN(at - before) ? undefined : at - before,
    state,
  };
}

function StepRow({ step, detailed, on }: { step: Step; detailed: boolean; on: boolean }) {
  const { state } = step;
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
          {step.errors.length > 0 && <span className="state error">{step.errors.join(", ")} failed</span>}
          {step.waits && <span className="state interrupted">waits</span>}
          {detailed && <span className="faint mono">{shortId(step.id)}</span>}
        </span>
        <span className="muted num right" title={state.created_at ? inFull(state.created_at) : ""}>
          {step.took === undefined ? "" : `+${span(step.took)}`}
        </span>
      </button>
      {detailed && (
        <div className="inside" style={{ paddingLeft: 64, borderBottom: "1px solid var(--line)" }}>
          <Json
            value={{ checkpoint: state.checkpoint, parent: state.parent_checkpoint?.checkpoint_id ?? null, next: state.next, tasks: state.tasks, metadata: state.metadata }}
            open={1}
          />
        </div>
      )}
    </>
  );
}

function useHistory(threadId: string, head: string) {
  const [states, setStates] = useState<ThreadState[] | undefined>(undefined);
  const [more, setMore] = useState(false);
  const [error, setError] = useState<unknown>(undefined);

  const read = async (before: ThreadState | undefined, signal?: AbortSignal) => {
    try {
      const page = await client.threads.getHistory(threadId, {
        limit: PAGE,
        select: [...SELECT] as never,
        ...(before ? { before: { configurable: { checkpoint_id: before.checkpoint.checkpoint_id } } as never } : {}),
        ...(signal ? { signal } : {}),
      });
      setStates((known) => (before === undefined ? page : [...(known ?? []), ...page]));
      setMore(page.length === PAGE);
      setError(undefined);
    } catch (error) {
      if (!signal?.aborted) setError(error);
    }
  };
  useEffect(() => {
    const stop = new AbortController();
    void read(undefined, stop.signal);
    return () => stop.abort();
  }, [threadId, head]);
  return { states, more, error, loadMore: () => void read(states?.at(-1)) };
}
