/** The state at the head or at the picked checkpoint, with what its step changed marked. */

import type { ThreadState } from "@langchain/langgraph-sdk";
import { type ReactNode, useMemo } from "react";
import { client } from "../../api/client";
import { useQuery } from "../../api/query";
import { changedKeys } from "../../diff/state";
import type { RunView } from "../../live/reducer";
import { inFull, shortId } from "../../parts/format";
import { Json } from "../../parts/json";
import { Bones, Failure } from "../../parts/notices";
import { withQuery } from "../../routes";

interface Props {
  threadId: string;
  head: ThreadState | undefined;
  live: RunView | undefined;
  checkpoint: string | null;
  /** What can be done from the state that is shown. */
  acts?: (state: ThreadState) => ReactNode;
}

export function StatePane({ threadId, head, live, checkpoint, acts }: Props) {
  const picked = useQuery(checkpoint === null ? null : `state ${threadId} ${checkpoint}`, () => client.threads.getState(threadId, checkpoint ?? undefined));
  const state = checkpoint === null ? head : picked.data;
  const parent = state?.parent_checkpoint?.checkpoint_id;
  const before = useQuery(parent ? `state ${threadId} ${parent}` : null, () => client.threads.getState(threadId, parent ?? undefined)).data;
  const isLive = checkpoint === null && live?.phase === "running" && live.values !== undefined;
  const values = (isLive ? live.values : state?.values) as Record<string, unknown> | null | undefined;
  const base = isLive ? head?.values : before?.values;
  const changed = useMemo(() => (base === undefined ? new Set<string>() : changedKeys(base, values)), [base, values]);
  const { step, source } = (state?.metadata ?? {}) as { step?: unknown; source?: unknown };

  return (
    <>
      <header>
        State
        <span className="space" />
        {checkpoint !== null && <a href={withQuery({ cp: null })}>back to the newest</a>}
        {isLive && <span className="state busy">live</span>}
      </header>
      {picked.error !== undefined && <Failure error={picked.error} what="The state cannot be read" retry={picked.reload} />}
      {picked.loading && <Bones rows={4} />}
      {state?.checkpoint?.checkpoint_id && (
        <div className="kv">
          <div>Checkpoint</div>
          <div className="mono cut" title={state.checkpoint.checkpoint_id ?? ""}>
            {shortId(state.checkpoint.checkpoint_id)}
            {typeof step === "number" && ` · step ${step}`}
          </div>
          <div>Made by</div>
          <div>{String(source ?? "")}</div>
          <div>Next</div>
          <div className="cut">{state.next.length > 0 ? <code>{state.next.join(", ")}</code> : <span className="faint">nothing</span>}</div>
          {state.created_at && (
            <>
              <div>At</div>
              <div className="num">{inFull(state.created_at)}</div>
            </>
          )}
        </div>
      )}
      {state !== undefined && !isLive && acts?.(state)}
      {values && Object.keys(values).length > 0 && (
        <div className="inside" style={{ paddingLeft: 16 }}>
          <Json value={sorted(values, changed)} changed={changed} />
        </div>
      )}
      {state !== undefined && !state.checkpoint?.checkpoint_id && !isLive && <p className="inside muted">No state yet.</p>}
    </>
  );
}

/** Changed entries first. */
function sorted(values: Record<string, unknown>, changed: ReadonlySet<string>): Record<string, unknown> {
  const entries = Object.entries(values);
  return Object.fromEntries([...entries.filter(([key]) => changed.has(key)), ...entries.filter(([key]) => !changed.has(key))]);
}
