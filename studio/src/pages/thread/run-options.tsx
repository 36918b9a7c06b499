/** The drawer of a run's options: context, config, breakpoints, and what its stream records. */

import type { Config } from "@langchain/langgraph-sdk";
import { useEffect, useState } from "react";
import { client } from "../../api/client";
import { useQuery } from "../../api/query";
import { STREAM_MODES } from "../../live/follow";
import { JsonField } from "../../parts/json-field";
import { type Schema, holdsInvalid, kindOf, resolved } from "../../parts/schema";
import { SchemaForm } from "../../parts/schema-form";

export interface RunOptions {
  context?: unknown;
  config?: Config;
  interruptBefore?: "*" | string[];
  interruptAfter?: "*" | string[];
  multitaskStrategy?: "enqueue" | "interrupt" | "rollback" | "reject";
  durability?: "exit" | "async" | "sync";
  streamSubgraphs?: boolean;
  streamMode?: string[];
}

const MORE_MODES = ["updates", "checkpoints", "debug", "events"];
const STRATEGIES = { enqueue: "wait for it", interrupt: "stop it", rollback: "undo it", reject: "be refused" };
const DURABILITIES = { async: "while the next step runs", sync: "before the next step", exit: "at the end only" };

/** Of each assistant what was set in this tab, for the composer is made anew with each thread. */
const kept = new Map<string, RunOptions>();

export function useRunOptions(assistantId: string | undefined) {
  const key = assistantId ?? "";
  const [options, set] = useState<RunOptions>(() => kept.get(key) ?? {});
  useEffect(() => set(kept.get(key) ?? {}), [key]);
  const change = (changes: { [Name in keyof RunOptions]: RunOptions[Name] | undefined }) => {
    const next = Object.fromEntries(Object.entries({ ...options, ...changes }).filter(([, value]) => value !== undefined)) as RunOptions;
    kept.set(key, next);
    set(next);
  };
  return { options, change, count: Object.keys(options).length, invalid: holdsInvalid(options) };
}

interface Props {
  assistantId: string;
  contextSchema: Schema | null | undefined;
  options: RunOptions;
  onChange: ReturnType<typeof useRunOptions>["change"];
}

export function RunOptionsDrawer({ assistantId, contextSchema, options, onChange }: Props) {
  const graph = useQuery(`graph ${assistantId}`, () => client.assistants.getGraph(assistantId, { xray: true }));
  const nodes = (graph.data?.nodes ?? []).map((node) => String(node.id)).filter((id) => !id.startsWith("__") && !id.includes(":"));
  const asForm = contextSchema && kindOf(resolved(contextSchema, contextSchema), contextSchema) === "object";
  return (
    <div className="drawer" role="group" aria-label="Options of the run">
      <div className="form">
        <div>
          <h2>Context</h2>
          {asForm ? (
            <SchemaForm schema={contextSchema} value={options.context} onChange={(context) => onChange({ context: isEmpty(context) ? undefined : context })} />
          ) : (
            <JsonField label="Context as JSON" value={options.context} onChange={(context) => onChange({ context })} rows={2} />
          )}
        </div>
        <div>
          <h2>Config</h2>
          <JsonField label="Config as JSON" value={options.config} onChange={(config) => onChange({ config: config as Config })} rows={2} />
        </div>
        <Breakpoints title="Stop before" nodes={nodes} picked={options.interruptBefore} onChange={(interruptBefore) => onChange({ interruptBefore })} />
        <Breakpoints title="Stop after" nodes={nodes} picked={options.interruptAfter} onChange={(interruptAfter) => onChange({ interruptAfter })} />
        <div>
          <h2>Stream</h2>
          <div className="ticks">
            <Tick label="subgraphs" on={options.streamSubgraphs ?? true} onChange={(on) => onChange({ streamSubgraphs: on ? undefined : false })} />
            {MORE_MODES.map((mode) => (
              <Tick
                key={mode}
                label={mode}
                on={options.streamMode?.includes(mode) ?? false}
                onChange={(on) => {
                  const more = MORE_MODES.filter((one) => (one === mode ? on : options.streamMode?.includes(one)));
                  onChange({ streamMode: more.length === 0 ? undefined : [...STREAM_MODES, ...more] });
                }}
              />
            ))}
          </div>
        </div>
        <div className="ticks">
          <Select title="While another run is under way" options={STRATEGIES} value={options.multitaskStrategy ?? "enqueue"} onChange={(value) => onChange({ multitaskStrategy: value === "enqueue" ? undefined : (value as "interrupt") })} />
          <Select title="Checkpoints are stored" options={DURABILITIES} value={options.durability ?? "async"} onChange={(value) => onChange({ durability: value === "async" ? undefined : (value as "sync") })} />
        </div>
      </div>
    </div>
  );
}

function Breakpoints({ title, nodes, picked, onChange }: { title: string; nodes: string[]; picked: "*" | string[] | undefined; onChange: (picked: "*" | string[] | undefined) => void }) {
  const chosen = Array.isArray(picked) ? picked : [];
  return (
    <div role="group" aria-label={title}>
      <h2>{title}</h2>
      <div className="ticks">
        <Tick label="every node" on={picked === "*"} onChange={(on) => onChange(on ? "*" : undefined)} />
        {picked !== "*" &&
          nodes.map((node) => (
            <Tick
              key={node}
              label={node}
              on={chosen.includes(node)}
              onChange={(on) => {
                const next = on ? [...chosen, node] : chosen.filter((one) => one !== node);
                onChange(next.length === 0 ? undefined : next);
              }}
            />
          ))}
      </div>
    </div>
  );
}

function Tick({ label, on, onChange }: { label: string; on: boolean; onChange: (on: boolean) => void }) {
  return (
    <label>
      <input type="checkbox" className="tick" checked={on} onChange={(event) => onChange(event.target.checked)} />
      {label}
    </label>
  );
}

function Select({ title, options, value, onChange }: { title: string; options: Record<string, string>; value: string; onChange: (value: string) => void }) {
  return (
    <div>
      <h2>{title}</h2>
      <select className="field" aria-label={title} value={value} onChange={(event) => onChange(event.target.value)}>
        {Object.entries(options).map(([name, word]) => (
          <option key={name} value={name}>
            {word}
          </option>
        ))}
      </select>
    </div>
  );
}

function isEmpty(value: unknown): boolean {
  return typeof value === "object" && value !== null && Object.keys(value).length === 0;
}
