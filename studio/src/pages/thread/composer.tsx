/** What is given to the graph: a message, its whole input as JSON, or the answer that it waits for. */

import type { Assistant } from "@langchain/langgraph-sdk";
import { type KeyboardEvent, useEffect, useRef, useState } from "react";
import { client } from "../../api/client";
import { useQuery } from "../../api/query";
import type { Interrupted } from "../../live/reducer";
import { skeletonOf, takesMessages } from "./schema";

export type Sent = { input: Record<string, unknown> | null } | { command: { resume: unknown } };

interface Props {
  assistants: Assistant[];
  assistantId: string | undefined;
  onAssistant: (assistantId: string) => void;
  interrupts: Interrupted[];
  running: boolean;
  /** Rejects when nothing was sent; then what was written stays. */
  onSend: (sent: Sent) => Promise<void>;
  onStop: () => void;
}

export function Composer({ assistants, assistantId, onAssistant, interrupts, running, onSend, onStop }: Props) {
  const schema = useQuery(assistantId === undefined ? null : `schemas ${assistantId}`, () => client.assistants.getSchemas(assistantId ?? "")).data?.input_schema;
  const [written, write] = useState("");
  const [asJson, setAsJson] = useState<boolean | undefined>(undefined);
  const [sending, setSending] = useState(false);
  /** Sent before the assistants were read: goes out when they are. */
  const [early, setEarly] = useState(false);
  const field = useRef<HTMLTextAreaElement>(null);
  const answers = interrupts.length > 0;
  const raw = asJson ?? (!answers && schema !== undefined && schema !== null && !takesMessages(schema));
  const parsed = raw ? parse(written) : undefined;
  const wrong = raw && written.trim() !== "" && parsed === undefined;
  const ready = assistantId !== undefined && !sending && written.trim() !== "" && !wrong;

  const toggle = (json: boolean) => {
    setAsJson(json);
    write(json && !answers && schema ? JSON.stringify(skeletonOf(schema), null, 2) : "");
    field.current?.focus();
  };
  const send = async () => {
    if (!ready) {
      setEarly(assistantId === undefined);
      return;
    }
    setEarly(false);
    setSending(true);
    try {
      await onSend(sentOf(raw ? parsed?.value : written, raw, interrupts));
      write("");
    } catch {
      // The page shows why.
    }
    setSending(false);
    field.current?.focus();
  };
  useEffect(() => {
    if (early && ready) void send();
  }, [early, ready]);
  const press = (event: KeyboardEvent) => {
    if (event.key === "/" && written === "" && !raw) {
      event.preventDefault();
      toggle(true);
    } else if (event.key === "Enter" && !event.nativeEvent.isComposing && (raw ? event.ctrlKey || event.metaKey : !event.shiftKey)) {
      event.preventDefault();
      void send();
    } else if (event.key === "Escape") {
      event.preventDefault();
      if (running) onStop();
      else field.current?.blur();
    }
  };

  const what = answers ? (raw ? "Answer as JSON" : "Answer, or / for JSON") : raw ? "Input as JSON" : "Message, or / for JSON input";
  return (
    <form
      className="composer"
      onSubmit={(event) => {
        event.preventDefault();
        void send();
      }}
    >
      <textarea
        ref={field}
        className={`${raw ? "raw" : ""} ${wrong ? "wrong" : ""}`}
        value={written}
        placeholder={what}
        aria-label={what}
        aria-invalid={wrong}
        rows={2}
        onFocus={() => {
          if (raw && written === "" && !answers && schema) write(JSON.stringify(skeletonOf(schema), null, 2));
        }}
        onChange={(event) => {
          setAsJson(raw); // what is being written stays what it is when the schema comes
          write(event.target.value);
        }}
        onKeyDown={press}
      />
      <div className="row">
        <select className="field" aria-label="Assistant" value={assistantId ?? ""} onChange={(event) => onAssistant(event.target.value)}>
          {assistants.map((one) => (
            <option key={one.assistant_id} value={one.assistant_id}>
              {one.name || one.graph_id}
            </option>
          ))}
        </select>
        <button type="button" className="btn quiet" aria-pressed={raw} onClick={() => toggle(!raw)}>
          {raw ? "Text" : "JSON"}
        </button>
        {wrong && <span className="faint">no JSON yet</span>}
        <span className="space" />
        {running && (
          <button type="button" className="btn" onClick={onStop}>
            Stop <kbd className="hide">esc</kbd>
          </button>
        )}
        <button type="submit" className="btn main" disabled={!ready}>
          {answers ? "Answer" : running ? "Queue" : "Send"} <kbd className="hide">{raw ? "ctrl ↵" : "↵"}</kbd>
        </button>
      </div>
    </form>
  );
}

function sentOf(value: unknown, raw: boolean, interrupts: Interrupted[]): Sent {
  if (interrupts.length > 0) {
    // Several open questions are answered by their ids; the same answer goes to all.
    const ids = interrupts.map((one) => one.id).filter((id) => id !== undefined);
    const resume = interrupts.length > 1 ? Object.fromEntries(ids.map((id) => [id, value])) : value;
    return { command: { resume } };
  }
  if (raw) return { input: value as Record<string, unknown> | null };
  return { input: { messages: [{ role: "user", content: value }] } };
}

function parse(text: string): { value: unknown } | undefined {
  try {
    return { value: JSON.parse(text) as unknown };
  } catch {
    return undefined;
  }
}
