/** A status as a dot and a word. */

const WORDS: Record<string, string> = { interrupted: "waits", pending: "queued", success: "done" };

export function Status({ of, className = "" }: { of: string; className?: string }) {
  return <span className={`state ${of} ${className}`}>{WORDS[of] ?? of}</span>;
}
