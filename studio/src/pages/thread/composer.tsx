/** What is given to the graph: a message, a form of its other fields, its whole input as JSON, or the answer that it waits for. */

import type { Assistant } from "@langchain/langgraph-sdk";
import { type ClipboardEvent, type DragEvent, type KeyboardEvent, useEffect, useRef, useState } from "react";
import { client } from "../../api/client";
import { useQuery } from "../../api/query";
import type { Interrupted } from "../../live/reducer";
import { type Schema, holdsInvalid } from "../../parts/schema";
import { SchemaForm } from "../../parts/schema-form";
import { Answer } from "../inbox/answer";
import { questionOf, resumeOf, shapeOf } from "../inbox/shape";
import { Attachments, contentOf, useAttachments } from "./attachments";
import { RunOptionsDrawer, type RunOptions, useRunOptions } from "./run-options";
import { skeletonOf, takesMessages } from "./schema";

export type Sent = ({ input: Record<string, unknown> | null } | { command: { resume: unknown } }) & RunOptions;

interface Props {
  assistants: Assistant[];
  assistantId: string | undefined;
  onAssistant: (assistantId: string) => void;
  interrupts: Interrupted[];
  /** Whether the thread stopped at a breakpoint. */
  stopped: boolean;
  running: boolean;
  /** Rejects when nothing was sent; then what was written stays. */
  onSend: (sent: Sent) => Promise<void>;
  onStop: () => void;
}

export function Composer({ assistants, assistantId, onAssistant, interrupts, stopped, running, onSend, onStop }: Props) {
  const schemas = useQuery(assistantId === undefined ? null : `schemas ${assistantId}`, () => client.assistants.getSchemas(assistantId ?? "")).data;
  const schema = schemas?.input_schema as Schema | null | undefined;
  const [written, write] = useState("");
  const [fields, setFields] = useState<Record<string, unknown>>({});
  const [asJson, setAsJson] = useState<boolean | undefined>(undefined);
  const [opened, setOpened] = useState({ fields: false, options: false });
  const [sending, setSending] = useState(false);
  const [over, setOver] = useState(false);
  /** Sent before the assistants were read: goes out when they are. */
  const [early, setEarly] = useState(false);
  const field = useRef<HTMLTextAreaElement>(null);
  const files = useAttachments();
  const run = useRunOptions(assistantId);
  const answers = interrupts.length > 0;
  const raw = asJson ?? false;
  const chats = answers || schema === undefined || takesMessages(schema);
  const hasFields = !answers && Object.keys(schema?.properties ?? {}).some((name) => name !== "messages");
  const showsFields = !raw && hasFields && (!chats || opened.fields);
  const parsed = raw ? parse(written) : undefined;
  const wrong = raw && written.trim() !== "" && parsed === undefined;
  const given = raw || chats ? written.trim() !== "" || files.attachments.length > 0 || (showsFields && Object.keys(fields).length > 0) : true;
  const ready = assistantId !== undefined && !sending && !wrong && !run.invalid && given && !(showsFields && holdsInvalid(fields));
  const shaped = answers && !raw && interrupts.some((one) => shapeOf(one).kind !== "open");

  /** The input from what was written and filled in. */
  const inputOf = (): Record<string, unknown> => ({
    ...(showsFields ? fields : {}),
    ...(chats && (written.trim() !== "" || files.attachments.length > 0) ? { messages: [{ role: "user", content: contentOf(written, files.attachments) }] } : {}),
  });
  const toggle = (json: boolean) => {
    setAsJson(json);
    write(json && !answers && schema ? JSON.stringify({ ...skeletonOf(schema), ...inputOf() }, null, 2) : "");
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
      await onSend({ ...(answers ? answersOf(raw ? parsed?.value : written, interrupts) : { input: raw ? (parsed?.value as Record<string, unknown> | null) : inputOf() }), ...run.options });
      write("");
      setFields({});
      files.clear();
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
  const takesFiles = chats && !raw && !answers;
  const drop = (event: DragEvent) => {
    setOver(false);
    if (!takesFiles || event.dataTransfer.files.length === 0) return;
    event.preventDefault();
    void files.add(event.dataTransfer.files);
  };
  const paste = (event: ClipboardEvent) => {
    if (!takesFiles || event.clipboardData.files.length === 0) return;
    event.preventDefault();
    void files.add(event.clipboardData.files);
  };

  const picker = (
    <>
      <select className="field" aria-label="Assistant" value={assistantId ?? ""} onChange={(event) => onAssistant(event.target.value)}>
        {assistants.map((one) => (
          <option key={one.assistant_id} value={one.assistant_id}>
            {one.name || one.graph_id}
          </option>
        ))}
      </select>
      <button type="button" className="btn quiet" aria-expanded={opened.options} onClick={() => setOpened({ ...opened, options: !opened.options })}>
        Options{run.count > 0 && <span className="tag num">{run.count}</span>}
      </button>
    </>
  );
  const drawer = opened.options && assistantId !== undefined && (
    <RunOptionsDrawer key={assistantId} assistantId={assistantId} contextSchema={schemas?.context_schema as Schema | null | undefined} options={run.options} onChange={run.change} />
  );
  if (shaped) {
    return (
      <div className="composer">
        {drawer}
        <div className="fields">
          {interrupts.map((one, index) => (
            <section key={one.id ?? index} aria-label="Answer">
              {interrupts.length > 1 && <p className="muted cut">{questionOf(one)}</p>}
              <Answer shape={shapeOf(one)} onAnswer={(value) => onSend({ command: { resume: resumeOf(one, value) }, ...run.options })} />
            </section>
          ))}
        </div>
        <div className="row">{picker}</div>
      </div>
    );
  }

  const what = answers ? (raw ? "Answer as JSON" : "Answer, or / for JSON") : raw ? "Input as JSON" : "Message, or / for JSON input";
  return (
    <form
      className={`composer ${over ? "over" : ""}`}
      onSubmit={(event) => {
        event.preventDefault();
        void send();
      }}
      onDragOver={(event) => {
        if (!takesFiles) return;
        event.preventDefault();
        setOver(true);
      }}
      onDragLeave={() => setOver(false)}
      onDrop={drop}
    >
      {drawer}
      {showsFields && schema && (
        <div className="fields">
          <SchemaForm schema={{ ...schema, required: [] }} root={schema} value={fields} onChange={(value) => setFields(value as Record<string, unknown>)} without={["messages"]} />
        </div>
      )}
      <Attachments attachments={files.attachments} onRemove={files.remove} />
      {(raw || chats) && (
        <textarea
          ref={field}
          className={`${raw ? "raw" : ""} ${wrong ? "wrong" : ""}`}
          value={written}
          placeholder={what}
          aria-label={what}
          aria-invalid={wrong}
          rows={2}
          onChange={(event) => {
            setAsJson(raw); // what is being written stays what it is when the schema comes
            write(event.target.value);
          }}
          onKeyDown={press}
          onPaste={paste}
        />
      )}
      <div className="row">
        {picker}
        {!raw && chats && hasFields && (
          <button type="button" className="btn quiet" aria-expanded={opened.fields} onClick={() => setOpened({ ...opened, fields: !opened.fields })}>
            Fields
          </button>
        )}
        {takesFiles && (
          <label className="btn quiet attach">
            Attach
            <input type="file" multiple className="unseen" onChange={(event) => void files.add(event.target.files ?? []).then(() => (event.target.value = ""))} />
          </label>
        )}
        <button type="button" className="btn quiet" aria-pressed={raw} onClick={() => toggle(!raw)}>
          {!raw ? "JSON" : chats ? "Text" : "Form"}
        </button>
        {wrong && <span className="faint">no JSON yet</span>}
        {files.problem && <span className="problem">{files.problem}</span>}
        <span className="space" />
        {stopped && (
          <button type="button" className="btn" onClick={() => void onSend({ input: null, ...run.options }).catch(() => undefined)}>
            Continue
          </button>
        )}
        {running && (
          <button type="button" className="btn" onClick={onStop}>
            Stop <kbd className="hide">esc</kbd>
          </button>
        )}
        <button type="submit" className="btn main" disabled={!ready}>
          {answers ? "Answer" : running ? "Queue" : "Send"} {(raw || chats) && <kbd className="hide">{raw ? "ctrl ↵" : "↵"}</kbd>}
        </button>
      </div>
    </form>
  );
}

/** Several open questions are answered by their ids; the same answer goes to all. */
function answersOf(value: unknown, interrupts: Interrupted[]): { command: { resume: unknown } } {
  const ids = interrupts.map((one) => one.id).filter((id) => id !== undefined);
  return { command: { resume: interrupts.length > 1 ? Object.fromEntries(ids.map((id) => [id, value])) : value } };
}

function parse(text: string): { value: unknown } | undefined {
  try {
    return { value: JSON.parse(text) as unknown };
  } catch {
    return undefined;
  }
}
