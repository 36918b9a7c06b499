/** A dialog over the page. Escape closes it, and the focus goes back to where it was. */

import { type FormEvent, type ReactNode, useEffect, useId, useRef } from "react";

export function Dialog({ title, children, onClose, wide }: { title: string; children: ReactNode; onClose: () => void; wide?: boolean }) {
  const element = useRef<HTMLDialogElement>(null);
  const id = useId();
  useEffect(() => {
    const dialog = element.current;
    if (dialog === null || dialog.open) return;
    dialog.showModal();
    dialog.querySelector<HTMLElement>("[data-first]")?.focus();
  }, []);
  return (
    <dialog ref={element} className={wide ? "wide" : undefined} aria-labelledby={id} onClose={onClose} onClick={(event) => event.target === element.current && onClose()}>
      <h2 id={id}>{title}</h2>
      {children}
    </dialog>
  );
}

/** Asks before something that cannot be taken back. */
export function Confirm(props: { title: string; children: ReactNode; yes: string; onYes: () => void; onClose: () => void }) {
  const answer = (event: FormEvent) => {
    event.preventDefault();
    props.onYes();
  };
  return (
    <Dialog title={props.title} onClose={props.onClose}>
      <form onSubmit={answer}>
        <p className="muted">{props.children}</p>
        <div className="acts">
          <button type="button" className="btn" onClick={props.onClose}>
            Cancel
          </button>
          <button type="submit" className="btn danger" data-first="">
            {props.yes}
          </button>
        </div>
      </form>
    </Dialog>
  );
}
