/** The form that answers an interrupt: from its schema, for the known shapes, or as text or JSON. */

import { type FormEvent, useState } from "react";
import { JsonField } from "../../parts/json-field";
import { INVALID, blankOf, problemOf } from "../../parts/schema";
import { SchemaForm } from "../../parts/schema-form";
import { type Action, type Decision, type Shape, answerOf } from "./shape";

const WORDS: Record<string, string> = {
  accept: "Accept",
  approve: "Approve",
  edit: "Edit",
  respond: "Respond",
  ignore: "Ignore",
  reject: "Reject",
};

interface Props {
  shape: Shape;
  /** How many threads the answer goes to. */
  count?: number;
  /** Rejects when nothing was sent; then what was written stays. */
  onAnswer: (value: unknown) => Promise<void>;
}

export function Answer({ shape, count = 1, onAnswer }: Props) {
  const [asJson, setAsJson] = useState(false);
  const [sending, setSending] = useState(false);
  const several = count > 1;
  const send = async (value: unknown) => {
    setSending(true);
    try {
      await onAnswer(value);
    } catch {
      // The page shows why.
    }
    setSending(false);
  };
  const common = { sending, word: several ? `Answer all ${count}` : "Answer", onSend: (value: unknown) => void send(value) };
  return (
    <div className="answer">
      {asJson ? (
        <JsonAnswer {...common} />
      ) : shape.kind === "schema" ? (
        <SchemaAnswer {...common} schema={shape.schema} />
      ) : shape.kind === "open" ? (
        <TextAnswer {...common} />
      ) : (
        <ActionsAnswer {...common} shape={shape} editable={!several} />
      )}
      <button type="button" className="btn quiet as-json" aria-pressed={asJson} onClick={() => setAsJson(!asJson)}>
        {asJson ? "Form" : "JSON"}
      </button>
    </div>
  );
}

interface PartProps {
  sending: boolean;
  word: string;
  onSend: (value: unknown) => void;
}

function SchemaAnswer({ schema, sending, word, onSend }: PartProps & { schema: Parameters<typeof blankOf>[0] }) {
  const [value, set] = useState<unknown>(() => blankOf(schema));
  const problem = problemOf(schema, value);
  return (
    <form onSubmit={(event) => submitted(event, problem === undefined && !sending, () => onSend(value))}>
      <SchemaForm schema={schema} value={value} onChange={set} label="Answer" />
      <Send word={word} ready={problem === undefined && !sending} problem={problem} />
    </form>
  );
}

function TextAnswer({ sending, word, onSend }: PartProps) {
  const [text, write] = useState("");
  const ready = text.trim() !== "" && !sending;
  return (
    <form onSubmit={(event) => submitted(event, ready, () => onSend(text))}>
      <textarea
        aria-label="Answer"
        placeholder="Answer as text"
        rows={2}
        value={text}
        onChange={(event) => write(event.target.value)}
        onKeyDown={(event) => {
          if (event.key === "Enter" && (event.ctrlKey || event.metaKey)) event.currentTarget.form?.requestSubmit();
        }}
      />
      <Send word={word} ready={ready} />
    </form>
  );
}

function JsonAnswer({ sending, word, onSend }: PartProps) {
  const [value, set] = useState<unknown>(undefined);
  const ready = value !== undefined && value !== INVALID && !sending;
  return (
    <form onSubmit={(event) => submitted(event, ready, () => onSend(value))}>
      <JsonField label="Answer as JSON" value={value} onChange={set} rows={4} />
      <Send word={word} ready={ready} problem={value === INVALID ? "no JSON yet" : undefined} />
    </form>
  );
}

function ActionsAnswer({ shape, editable, sending, word, onSend }: PartProps & { shape: Shape & { actions: Action[] }; editable: boolean }) {
  const allowed = shape.actions.map((action) => action.allowed.filter((name) => editable || name !== "edit"));
  const [decisions, decide] = useState<Decision[]>(() => shape.actions.map((action, index) => ({ type: allowed[index]?.[0] ?? "", args: action.args, text: "" })));
  const change = (at: number, changes: Partial<Decision>) => decide(decisions.map((one, index) => (index === at ? { ...one, ...changes } : one)));
  const ready = !sending && decisions.every((one) => one.type !== "" && (one.type !== "edit" || (one.args !== INVALID && one.args !== undefined)) && (one.type !== "respond" || one.text.trim() !== ""));
  return (
    <form onSubmit={(event) => submitted(event, ready, () => onSend(answerOf(shape, decisions)))}>
      {shape.actions.map((action, index) => {
        const decision = decisions[index] as Decision;
        const says = decision.type === "respond" || decision.type === "reject";
        return (
          <div key={index} className="decision">
            {shape.actions.length > 1 && <h4>{action.name}</h4>}
            <div className="choices" role="group" aria-label={`Decision on ${action.name}`}>
              {(allowed[index] ?? []).map((name) => (
                <button
                  type="button"
                  key={name}
                  className={`btn ${decision.type === name ? "on" : ""}`}
                  aria-pressed={decision.type === name}
                  onClick={() => change(index, { type: name })}
                >
                  {WORDS[name] ?? name}
                </button>
              ))}
            </div>
            {decision.type === "edit" && <JsonField label={`Arguments of ${action.name}`} value={decision.args} onChange={(args) => change(index, { args })} rows={4} />}
            {says && (
              <textarea
                aria-label={decision.type === "reject" ? "Reason" : "Response"}
                placeholder={decision.type === "reject" ? "Reason, if you like" : "Response"}
                rows={2}
                value={decision.text}
                onChange={(event) => change(index, { text: event.target.value })}
              />
            )}
          </div>
        );
      })}
      <Send word={word} ready={ready} />
    </form>
  );
}

function Send({ word, ready, problem }: { word: string; ready: boolean; problem?: string | undefined }) {
  return (
    <div className="acts">
      <button type="submit" className="btn main" disabled={!ready}>
        {word}
      </button>
      {problem !== undefined && <span className="faint">{problem}</span>}
    </div>
  );
}

function submitted(event: FormEvent, ready: boolean, send: () => void): void {
  event.preventDefault();
  if (ready) send();
}
