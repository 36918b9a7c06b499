/** A field that takes JSON. While it holds something else, its value is `INVALID`; empty, it has none. */

import { useEffect, useState } from "react";
import { same } from "../diff/state";
import { INVALID } from "./schema";

interface Props {
  value: unknown;
  onChange: (value: unknown) => void;
  id?: string;
  label?: string;
  rows?: number;
}

export function JsonField({ value, onChange, id, label, rows = 6 }: Props) {
  const [text, write] = useState(() => textOf(value));
  // Another value from outside replaces the text; the one that was just written here does not.
  useEffect(() => {
    if (value !== INVALID && !same(parsed(text), value)) write(textOf(value));
  }, [value]);
  return (
    <textarea
      id={id}
      className={`raw ${value === INVALID ? "wrong" : ""}`}
      aria-label={label}
      aria-invalid={value === INVALID}
      rows={rows}
      spellCheck={false}
      value={text}
      onChange={(event) => {
        write(event.target.value);
        onChange(parsed(event.target.value));
      }}
    />
  );
}

function textOf(value: unknown): string {
  return value === undefined || value === INVALID ? "" : JSON.stringify(value, null, 2);
}

function parsed(text: string): unknown {
  if (text.trim() === "") return undefined;
  try {
    return JSON.parse(text) as unknown;
  } catch {
    return INVALID;
  }
}
