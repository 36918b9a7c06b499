import { useRef } from "react";

/** The last value that was not undefined, while the key stays: what was there is shown until the next is read. */
export function useKept<T>(value: T | undefined, key: string): T | undefined {
  const kept = useRef<{ key: string; value: T | undefined }>({ key, value });
  if (kept.current.key !== key || value !== undefined) kept.current = { key, value };
  return kept.current.value;
}
