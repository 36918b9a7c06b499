/** What is asked before a checkpoint is tagged, compared, or forked with another state. */

import { type FormEvent, lazy, Suspense, useState } from "react";
import { messageOf } from "../../../api/client";
import { deleteTag, getLineage, putTag } from "../../../api/extras";
import { useQuery } from "../../../api/query";
import { Dialog } from "../../../parts/dialog";
import { shortId } from "../../../parts/format";
import { go, withQuery } from "../../../routes";
import type { Forks } from "./actions";

const StateEditor = lazy(() => import("./editor"));

/** `checkpoint` null is the newest one. */
export type Asking = { what: "tag" | "compare" | "edit"; checkpoint: string | null };

interface Props {
  asking: Asking;
  forks: Forks;
  assistantId: string | undefined;
  onClose: () => void;
}

export function ForkDialog({ asking, forks, assistantId, onClose }: Props) {
  const checkpoint = asking.checkpoint ?? forks.head;
  if (asking.what === "compare") return <CompareWith threadId={forks.threadId} checkpoint={asking.checkpoint} lineage={forks.features.lineage} onClose={onClose} />;
  if (checkpoint === null) return null;
  if (asking.what === "tag") return <TagDialog forks={forks} checkpoint={checkpoint} onClose={onClose} />;
  return (
    <Suspense>
      <StateEditor forks={forks} checkpoint={checkpoint} assistantId={assistantId} onClose={onClose} />
    </Suspense>
  );
}

const NAME = "[A-Za-z0-9._\\-]{1,64}";

function TagDialog({ forks, checkpoint, onClose }: { forks: Forks; checkpoint: string; onClose: () => void }) {
  const [name, setName] = useState("");
  const [problem, setProblem] = useState("");
  const here = forks.tags.filter((tag) => tag.checkpoint_id === checkpoint);
  const elsewhere = forks.tags.some((tag) => tag.name === name && tag.checkpoint_id !== checkpoint);
  const attempt = async (work: () => Promise<unknown>) => {
    setProblem("");
    try {
      await work();
      forks.reloadTags();
      onClose();
    } catch (error) {
      setProblem(messageOf(error));
    }
  };
  const submit = (event: FormEvent) => {
    event.preventDefault();
    void attempt(() => putTag(forks.threadId, name, { checkpoint_id: checkpoint, ...(elsewhere ? { if_exists: "move" as const } : {}) }));
  };
  return (
    <Dialog title={`Tag checkpoint ${shortId(checkpoint)}`} onClose={onClose}>
      <form onSubmit={submit}>
        <p className="muted">A tag is a name that stands wherever the checkpoint's id does. The checkpoint is kept when the thread is pruned.</p>
        {here.length > 0 && (
          <p className="tags">
            {here.map((tag) => (
              <span key={tag.name} className="tag">
                {tag.name}
                <button type="button" aria-label={`Delete tag ${tag.name}`} onClick={() => void attempt(() => deleteTag(forks.threadId, tag.name))}>
                  ✕
                </button>
              </span>
            ))}
          </p>
        )}
        <label>
          Name
          <span className="field">
            <input data-first="" value={name} onChange={(event) => setName(event.target.value)} pattern={NAME} title="Letters, digits, dots, dashes and underscores" required maxLength={64} spellCheck={false} />
          </span>
        </label>
        {elsewhere && <p className="faint">This tag stands at another checkpoint. It will be moved here.</p>}
        {problem && (
          <div className="note bad" role="alert">
            {problem}
          </div>
        )}
        <div className="acts">
          <button type="button" className="btn" onClick={onClose}>
            Cancel
          </button>
          <button type="submit" className="btn main">
            {elsewhere ? "Move tag" : "Tag"}
          </button>
        </div>
      </form>
    </Dialog>
  );
}

const MOST_OFFERED = 200;

function CompareWith({ threadId, checkpoint, lineage, onClose }: { threadId: string; checkpoint: string | null; lineage: boolean; onClose: () => void }) {
  const family = useQuery(lineage ? `lineage ${threadId}` : null, () => getLineage(threadId)).data;
  const [id, setId] = useState("");
  const others = (family?.threads ?? []).filter((one) => one.thread_id !== null && !one.deleted && one.thread_id !== threadId).slice(0, MOST_OFFERED);
  const compare = (other: string) => {
    onClose();
    go(withQuery({ view: "compare", vs: other, cp: checkpoint, vcp: null }));
  };
  return (
    <Dialog title="Compare with" onClose={onClose}>
      <form
        onSubmit={(event) => {
          event.preventDefault();
          compare(id.trim());
        }}
      >
        <div className="choices">
          {checkpoint !== null && (
            <button type="button" className="choice" onClick={() => compare(threadId)}>
              The newest state of this thread
            </button>
          )}
          {others.map((one) => (
            <button key={one.thread_id} type="button" className="choice" onClick={() => compare(one.thread_id ?? "")}>
              <span className="cut">{titled(one.metadata) || <span className="mono">{shortId(one.thread_id ?? "")}</span>}</span>
              <span className="faint">{one.parent === threadId ? "copy of this thread" : one.depth === 0 ? "first thread" : "same family"}</span>
            </button>
          ))}
        </div>
        <label>
          {others.length > 0 ? "Or the id of another thread" : "The id of another thread"}
          <span className="field">
            <input data-first="" value={id} onChange={(event) => setId(event.target.value)} required spellCheck={false} className="mono" />
          </span>
        </label>
        <div className="acts">
          <button type="button" className="btn" onClick={onClose}>
            Cancel
          </button>
          <button type="submit" className="btn main">
            Compare
          </button>
        </div>
      </form>
    </Dialog>
  );
}

export function titled(metadata: Record<string, unknown> | undefined): string {
  const title = metadata?.["title"];
  return typeof title === "string" ? title : "";
}
