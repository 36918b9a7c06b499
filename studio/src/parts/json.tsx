/** A JSON value as a tree that opens on demand. Long lists and texts are shown in part, with a way to the rest. */

import { useState } from "react";

const ENTRIES = 100;
const TEXT = 1_000;

export interface JsonProps {
  value: unknown;
  /** How many levels are open at first. */
  open?: number;
  /** Which entries of the first level are marked as changed. */
  changed?: ReadonlySet<string>;
}

export function Json({ value, open = 1, changed }: JsonProps) {
  if (!isContainer(value)) {
    return (
      <div className="json">
        <div className="row">
          <Leaf value={value} />
        </div>
      </div>
    );
  }
  return (
    <div className="json">
      <Entries value={value} open={open} {...(changed ? { changed } : {})} />
    </div>
  );
}

function Entries({ value, open, changed }: { value: object; open: number; changed?: ReadonlySet<string> }) {
  const [shown, setShown] = useState(ENTRIES);
  const entries = Object.entries(value);
  return (
    <>
      {entries.slice(0, shown).map(([key, item]) => (
        <Entry key={key} name={key} value={item} open={open} marked={changed?.has(key) ?? false} />
      ))}
      {entries.length > shown && (
        <button type="button" className="btn quiet" onClick={() => setShown(shown + ENTRIES)}>
          {entries.length - shown} more
        </button>
      )}
      {entries.length === 0 && <span className="faint">{Array.isArray(value) ? "[]" : "{}"}</span>}
    </>
  );
}

function Entry({ name, value, open, marked }: { name: string; value: unknown; open: number; marked: boolean }) {
  const [opened, setOpened] = useState(open > 1);
  const label = <span className="k">{name}</span>;
  const mark = marked ? "changed" : undefined;
  if (!isContainer(value)) {
    return (
      <div className="row" style={{ paddingLeft: 12 }}>
        <span className={mark}>
          {label}: <Leaf value={value} />
        </span>
      </div>
    );
  }
  return (
    <details open={opened} onToggle={(event) => setOpened(event.currentTarget.open)} style={{ paddingLeft: 12 }}>
      <summary>
        <span className={mark}>
          {label} <span className="faint">{summaryOf(value)}</span>
        </span>
      </summary>
      {opened && (
        <div style={{ paddingLeft: 0 }}>
          <Entries value={value} open={open - 1} />
        </div>
      )}
    </details>
  );
}

function Leaf({ value }: { value: unknown }) {
  const [whole, setWhole] = useState(false);
  if (typeof value === "string") {
    const cut = !whole && value.length > TEXT;
    return (
      <>
        <span className="s">{JSON.stringify(cut ? value.slice(0, TEXT) : value)}</span>
        {cut && (
          <button type="button" className="btn quiet" onClick={() => setWhole(true)}>
            {(value.length - TEXT).toLocaleString("en")} more characters
          </button>
        )}
      </>
    );
  }
  return <span className="n">{JSON.stringify(value) ?? "undefined"}</span>;
}

function isContainer(value: unknown): value is object {
  return typeof value === "object" && value !== null;
}

function summaryOf(value: object): string {
  if (Array.isArray(value)) return `[${value.length}]`;
  const message = value as { type?: unknown; content?: unknown };
  const text = typeof message.type === "string" && typeof message.content === "string" ? `${message.type}: ${message.content.slice(0, 40)}` : "";
  return text || `{${Object.keys(value).length}}`;
}
