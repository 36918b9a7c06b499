/** A checkpoint's state as text. What was changed is shown before it is saved on a fork. */

import { useEffect, useMemo, useState } from "react";
import { client, messageOf } from "../../../api/client";
import { useQuery } from "../../../api/query";
import { changesOf, updateFor } from "../../../diff/values";
import { Dialog } from "../../../parts/dialog";
import { shortId } from "../../../parts/format";
import { Bones } from "../../../parts/notices";
import type { Forks } from "./actions";
import { Changes } from "./changes";

interface Props {
  forks: Forks;
  checkpoint: string;
  assistantId: string | undefined;
  onClose: () => void;
}

export default function StateEditor({ forks, checkpoint, assistantId, onClose }: Props) {
  const state = useQuery(`state ${forks.threadId} ${checkpoint}`, () => client.threads.getState(forks.threadId, checkpoint));
  const graph = useQuery(assistantId === undefined ? null : `graph ${assistantId}`, () => client.assistants.getGraph(assistantId ?? "", { xray: true })).data;
  const before = useMemo(() => (state.data?.values ?? {}) as Record<string, unknown>, [state.data]);
  const [text, write] = useState<string | undefined>(undefined);
  const [asNode, setAsNode] = useState("");
  const [problem, setProblem] = useState("");
  const [saving, setSaving] = useState(false);
  useEffect(() => {
    if (state.data !== undefined) write((written) => written ?? JSON.stringify(before, null, 2));
  }, [state.data, before]);

  const after = useMemo(() => parsed(text), [text]);
  const changes = useMemo(() => (after === undefined ? [] : changesOf(before, after)), [before, after]);
  const gone = Object.keys(before).filter((key) => after !== undefined && !(key in after));
  const atHead = checkpoint === forks.head;
  const nodes = (graph?.nodes ?? []).map((node) => String(node.id)).filter((id) => !id.includes(":") && !id.startsWith("__"));
  const ready = after !== undefined && changes.length > 0 && gone.length === 0 && !saving;

  const save = async (andRun: boolean) => {
    if (after === undefined) return;
    setSaving(true);
    setProblem("");
    try {
      await forks.save(checkpoint, updateFor(before, after), asNode || undefined, andRun);
      onClose();
    } catch (error) {
      setProblem(messageOf(error));
      setSaving(false);
    }
  };
  return (
    <Dialog title={`Edit the state at ${shortId(checkpoint)}`} onClose={onClose}>
      <div className="editor">
        {text === undefined ? (
          state.error === undefined ? <Bones rows={6} /> : <div className="note bad" role="alert">{messageOf(state.error)}</div>
        ) : (
          <textarea
            className={`raw ${after === undefined ? "wrong" : ""}`}
            aria-label="State as JSON"
            aria-invalid={after === undefined}
            data-first=""
            autoFocus
            spellCheck={false}
            value={text}
            onChange={(event) => write(event.target.value)}
          />
        )}
        <section className="differences" aria-label="Changes" aria-live="polite">
          <h3>Changes</h3>
          {after === undefined && text !== undefined ? (
            <p className="muted">This is no JSON object yet.</p>
          ) : changes.length === 0 ? (
            <p className="muted">None yet.</p>
          ) : (
            <Changes changes={changes} />
          )}
          {gone.length > 0 && <div className="note bad">A state's entries cannot be removed: {gone.join(", ")}. Set them to null instead.</div>}
        </section>
      </div>
      <p className="faint">
        {atHead ? "Saved as the newest state of this thread." : forks.byCopy ? "Saved on a copy of the thread that ends at this checkpoint." : "Saved as a branch of this thread; the other stays."} Values go
        through the graph's reducers: a list that they add to is added to.
      </p>
      {problem && (
        <div className="note bad" role="alert">
          {problem}
        </div>
      )}
      <div className="acts">
        <select className="field" aria-label="As node" value={asNode} onChange={(event) => setAsNode(event.target.value)}>
          <option value="">as the node before</option>
          {nodes.map((node) => (
            <option key={node} value={node}>
              as {node}
            </option>
          ))}
        </select>
        <span className="space" />
        <button type="button" className="btn" onClick={onClose}>
          Cancel
        </button>
        <button type="button" className="btn" disabled={!ready} onClick={() => void save(false)}>
          Save
        </button>
        <button type="button" className="btn main" disabled={!ready || forks.running} onClick={() => void save(true)}>
          Save and run
        </button>
      </div>
    </Dialog>
  );
}

function parsed(text: string | undefined): Record<string, unknown> | undefined {
  if (text === undefined) return undefined;
  try {
    const value: unknown = JSON.parse(text);
    return typeof value === "object" && value !== null && !Array.isArray(value) ? (value as Record<string, unknown>) : undefined;
  } catch {
    return undefined;
  }
}
