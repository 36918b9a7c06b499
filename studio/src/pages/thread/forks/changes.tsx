/** Differences between two values, one line a place. */

import { useState } from "react";
import type { Change } from "../../../diff/values";
import { number } from "../../../parts/format";

const AT_ONCE = 100;
const TEXT = 400;

export function Changes({ changes }: { changes: Change[] }) {
  const [most, setMost] = useState(AT_ONCE);
  return (
    <div className="changes">
      {changes.slice(0, most).map((change, index) => (
        <div key={index} className="change">
          <span className="mono">{change.path || "value"}</span>
          {change.kind !== "added" && <Value value={change.before} kind="del" />}
          {change.kind !== "removed" && <Value value={change.after} kind="add" />}
        </div>
      ))}
      {changes.length > most && (
        <button type="button" className="btn quiet" onClick={() => setMost(most * 10)}>
          {number(changes.length - most)} more
        </button>
      )}
    </div>
  );
}

export function Value({ value, kind }: { value: unknown; kind: "add" | "del" }) {
  const [whole, setWhole] = useState(false);
  const text = JSON.stringify(value, null, typeof value === "object" ? 1 : 0) ?? "nothing";
  const cut = !whole && text.length > TEXT;
  return (
    <span className={`value mono ${kind}`}>
      <span className="unseen">{kind === "add" ? "after: " : "before: "}</span>
      {cut ? `${text.slice(0, TEXT)}…` : text}
      {cut && (
        <button type="button" className="btn quiet" onClick={() => setWhole(true)}>
          whole
        </button>
      )}
    </span>
  );
}
