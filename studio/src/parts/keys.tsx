/** Keys: a page names those it listens to, and `?` shows all of them. */

import { useEffect, useRef, useSyncExternalStore } from "react";

export interface Key {
  key: string;
  label: string;
  run: () => void;
}

let pressed: readonly Key[][] = [];
const listeners = new Set<() => void>();

function change(next: readonly Key[][]): void {
  pressed = next;
  for (const listener of listeners) listener();
}

/** Listens to keys while the component is shown, except while something is typed or a dialog is open. */
export function useKeys(keys: Key[]): void {
  const latest = useRef(keys);
  latest.current = keys;
  const names = keys.map(({ key, label }) => `${key} ${label}`).join("\n");
  useEffect(() => {
    const mine = latest.current;
    change([...pressed, mine]);
    const press = (event: KeyboardEvent) => {
      if (event.ctrlKey || event.metaKey || event.altKey || event.defaultPrevented || isTyping(event.target)) return;
      if (document.querySelector("dialog[open]") !== null) return;
      const found = latest.current.find(({ key }) => key === event.key);
      // Enter and the space bar belong to the control that has the focus.
      if (found === undefined || ((event.key === "Enter" || event.key === " ") && isControl(event.target))) return;
      event.preventDefault();
      found.run();
    };
    window.addEventListener("keydown", press);
    return () => {
      window.removeEventListener("keydown", press);
      change(pressed.filter((one) => one !== mine));
    };
  }, [names]);
}

/** The keys that are listened to now. */
export function useListedKeys(): readonly Key[] {
  return useSyncExternalStore(
    (changed) => {
      listeners.add(changed);
      return () => listeners.delete(changed);
    },
    () => pressed,
  ).flat();
}

function isTyping(target: EventTarget | null): boolean {
  if (!(target instanceof HTMLElement)) return false;
  return target.matches("textarea, select, [contenteditable], input:not([type=checkbox])");
}

function isControl(target: EventTarget | null): boolean {
  return target instanceof HTMLElement && target.matches("a, button, summary, input");
}
