/** A button that opens a list of actions. Arrow keys move in it, Escape closes it. */

import { type KeyboardEvent, type ReactNode, useEffect, useId, useRef, useState } from "react";

export interface Action {
  label: string;
  run: () => void;
  /** Why it cannot be done now. */
  disabled?: string | undefined;
}

export function Menu({ label, children, actions }: { label: string; children: ReactNode; actions: Action[] }) {
  const [open, setOpen] = useState(false);
  const box = useRef<HTMLSpanElement>(null);
  const list = useRef<HTMLDivElement>(null);
  const id = useId();
  const close = () => {
    setOpen(false);
    box.current?.querySelector("button")?.focus();
  };
  useEffect(() => {
    if (!open) return;
    const element = list.current;
    const button = box.current?.querySelector("button")?.getBoundingClientRect();
    // A popover lies above everything and is not cut off by what scrolls.
    element?.showPopover();
    if (element && button) {
      const below = button.bottom + element.offsetHeight + 4 <= innerHeight;
      element.style.top = `${below ? button.bottom + 4 : Math.max(4, button.top - element.offsetHeight - 4)}px`;
      element.style.left = `${Math.max(8, Math.min(button.right - element.offsetWidth, innerWidth - element.offsetWidth - 8))}px`;
    }
    element?.querySelector<HTMLElement>("button:not(:disabled)")?.focus();
    const leave = (event: Event) => {
      if (event.type === "scroll" || !box.current?.contains(event.target as Node)) setOpen(false);
    };
    document.addEventListener("pointerdown", leave);
    document.addEventListener("scroll", leave, true);
    return () => {
      document.removeEventListener("pointerdown", leave);
      document.removeEventListener("scroll", leave, true);
    };
  }, [open]);
  const press = (event: KeyboardEvent) => {
    const items = [...(list.current?.querySelectorAll<HTMLElement>("button:not(:disabled)") ?? [])];
    const at = items.indexOf(document.activeElement as HTMLElement);
    if (event.key === "ArrowDown") items[(at + 1) % items.length]?.focus();
    else if (event.key === "ArrowUp") items.at(at - 1)?.focus();
    else if (event.key === "Escape") close();
    else if (event.key === "Tab") setOpen(false);
    else return;
    if (event.key !== "Tab") event.preventDefault();
    event.stopPropagation();
  };
  return (
    <span className="menu" ref={box}>
      <button type="button" className="btn quiet" aria-label={label} aria-haspopup="menu" aria-expanded={open} aria-controls={id} title={label} onClick={() => setOpen(!open)}>
        {children}
      </button>
      {open && (
        <div ref={list} id={id} popover="manual" role="menu" aria-label={label} onKeyDown={press}>
          {actions.map((action) => (
            <button
              key={action.label}
              type="button"
              role="menuitem"
              disabled={action.disabled !== undefined}
              title={action.disabled}
              onClick={() => {
                setOpen(false);
                action.run();
              }}
            >
              {action.label}
            </button>
          ))}
        </div>
      )}
    </span>
  );
}
