/** What can be done from the checkpoint whose state is shown, and its tags. */

import type { ThreadState } from "@langchain/langgraph-sdk";
import { Menu } from "../../../parts/menu";
import type { Forks } from "./actions";
import type { Asking } from "./dialogs";

export function CheckpointActs({ forks, state, onAsk }: { forks: Forks; state: ThreadState | undefined; onAsk: (asking: Asking) => void }) {
  const id = state?.checkpoint?.checkpoint_id;
  if (!id) return null;
  const { features, running, head } = forks;
  const busy = running ? "A run is under way" : undefined;
  const tags = forks.tags.filter((tag) => tag.checkpoint_id === id);
  const cannotRun = busy ?? (state.next.length === 0 ? "Nothing is left to run here" : undefined);
  const more = [
    { label: "Re-run from here", run: () => forks.again(id), disabled: cannotRun },
    ...(features.tags ? [{ label: "Tag", run: () => onAsk({ what: "tag", checkpoint: id }) }] : []),
    ...(features.compare ? [{ label: "Compare with…", run: () => onAsk({ what: "compare", checkpoint: id === head ? null : id }) }] : []),
    ...(features.reset ? [{ label: "Reset the thread to here", run: () => forks.reset(id), disabled: id === head ? "The thread is here" : busy }] : []),
    ...(features.reset ? [{ label: "Undo the last reset", run: forks.undo, disabled: busy }] : []),
  ];
  return (
    <div className="here">
      {(features.copyOptions || id === head) && (
        <button type="button" className="btn" onClick={() => forks.copy(id === head ? {} : { checkpoint_id: id })}>
          Copy here
        </button>
      )}
      <button type="button" className="btn" disabled={running} onClick={() => onAsk({ what: "edit", checkpoint: id })}>
        {id === head ? "Edit" : "Edit and fork"}
      </button>
      <Menu label="More for this checkpoint" actions={more}>
        ⋯
      </Menu>
      {tags.map((tag) => (
        <span key={tag.name} className="tag">
          {tag.name}
        </span>
      ))}
    </div>
  );
}
