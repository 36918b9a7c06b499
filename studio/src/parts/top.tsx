/** The bar above a page: its title, what the page adds, and whether the server answers. */

import type { ReactNode } from "react";
import { useConnection } from "../api/client";

const WORDS = {
  unknown: "Connecting",
  up: "Connected to the server",
  down: "The server does not answer. Studio goes on trying.",
  denied: "The server wants a token",
};

/** @param whole whether the title is never cut short, however narrow the screen. */
export function Top({ title, whole, children }: { title: ReactNode; whole?: boolean; children?: ReactNode }) {
  const connection = useConnection();
  return (
    <header className="top">
      <h1 style={whole ? { flex: "none" } : undefined}>{title}</h1>
      {children ?? <span className="space" />}
      <span className={`link ${connection}`} role="status" title={WORDS[connection]} aria-label={WORDS[connection]} />
    </header>
  );
}
