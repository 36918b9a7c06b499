/** Assistants: the list, and one of them with its versions, schemas and settings. */

import type { Assistant, AssistantVersion } from "@langchain/langgraph-sdk";
import { type FormEvent, type ReactNode, useState } from "react";
import { client, messageOf, statusOf } from "../api/client";
import { useQuery } from "../api/query";
import { Confirm, Dialog } from "../parts/dialog";
import { ago, inFull, number, shortId } from "../parts/format";
import { Json } from "../parts/json";
import { JsonField } from "../parts/json-field";
import { Bones, Empty, Failure } from "../parts/notices";
import { INVALID, type Schema, blankOf, kindOf, resolved } from "../parts/schema";
import { SchemaForm } from "../parts/schema-form";
import { Top } from "../parts/top";
import { go, href } from "../routes";

const MOST = 1_000;
const MOST_VERSIONS = 100;

export function AssistantsPage({ assistantId }: { assistantId: string | undefined }) {
  return assistantId === undefined ? <All /> : <One key={assistantId} assistantId={assistantId} />;
}

function useAssistants() {
  return useQuery("assistants", () => client.assistants.search({ limit: MOST }));
}

function All() {
  const assistants = useAssistants();
  const [making, setMaking] = useState(false);
  let content: ReactNode;
  if (assistants.data === undefined) {
    content = assistants.error === undefined ? <Bones rows={8} /> : <Failure error={assistants.error} what="The assistants cannot be read" retry={assistants.reload} />;
  } else if (assistants.data.length === 0) {
    content = (
      <Empty icon="graphs" title="No assistants">
        Each graph of the server has one. This server has no graph that you may see.
      </Empty>
    );
  } else {
    const sorted = assistants.data.toSorted((a, b) => a.graph_id.localeCompare(b.graph_id) || nameOf(a).localeCompare(nameOf(b)));
    content = (
      <div className="scroll">
        <table className="table">
          <thead>
            <tr>
              <th>Name</th>
              <th>Graph</th>
              <th className="right">Version</th>
              <th>Description</th>
              <th className="right">Updated</th>
            </tr>
          </thead>
          <tbody>
            {sorted.map((one) => (
              <tr key={one.assistant_id}>
                <td>
                  <a href={href(["assistants", one.assistant_id])}>{nameOf(one)}</a>
                  {isDefault(one) && <span className="sub">default</span>}
                </td>
                <td className="muted">{one.graph_id}</td>
                <td className="num muted right">{one.version}</td>
                <td className="reason muted">{one.description ?? ""}</td>
                <td className="num muted right" title={inFull(one.updated_at)}>
                  {ago(one.updated_at)}
                </td>
              </tr>
            ))}
          </tbody>
        </table>
      </div>
    );
  }
  return (
    <>
      <Top title="Assistants" whole>
        {assistants.data !== undefined && <span className="faint num">{number(assistants.data.length)}</span>}
        <span className="space" />
        {(assistants.data?.length ?? 0) > 0 && (
          <button type="button" className="btn main" onClick={() => setMaking(true)}>
            New
          </button>
        )}
      </Top>
      <main className="page">{content}</main>
      {making && <Settings graphs={[...new Set(assistants.data?.map((one) => one.graph_id))].sort()} onClose={() => setMaking(false)} onSaved={(one) => go(href(["assistants", one.assistant_id]))} />}
    </>
  );
}

function One({ assistantId }: { assistantId: string }) {
  const assistant = useQuery(`assistant ${assistantId}`, () => client.assistants.get(assistantId));
  const versions = useQuery(`versions ${assistantId}`, () => client.assistants.getVersions(assistantId, { limit: MOST_VERSIONS }));
  const schemas = useQuery(`schemas ${assistantId}`, () => client.assistants.getSchemas(assistantId));
  const [base, setBase] = useState<AssistantVersion>();
  const [leaving, setLeaving] = useState(false);
  const [problem, setProblem] = useState("");
  const one = assistant.data;

  const attempt = async (work: () => Promise<unknown>) => {
    setProblem("");
    try {
      await work();
    } catch (error) {
      setProblem(messageOf(error));
    }
    assistant.reload();
    versions.reload();
  };

  if (one === undefined) {
    return (
      <>
        <Top title={shortId(assistantId)} />
        <main className="page">
          {assistant.error === undefined ? (
            <Bones />
          ) : statusOf(assistant.error) === 404 ? (
            <Empty icon="graphs" title="There is no such assistant" action={<a className="btn" href={href(["assistants"])}>Assistants</a>} />
          ) : (
            <Failure error={assistant.error} what="The assistant cannot be read" retry={assistant.reload} />
          )}
        </main>
      </>
    );
  }
  return (
    <>
      <Top title={nameOf(one)}>
        <span className="tag">version {one.version}</span>
        <span className="space" />
        <a className="btn hide" href={href(["threads", "new"], { graph: one.graph_id, assistant: one.assistant_id })}>
          New thread
        </a>
        {!isDefault(one) && (
          <button type="button" className="btn danger" onClick={() => setLeaving(true)}>
            Delete
          </button>
        )}
        <button type="button" className="btn main" onClick={() => setBase(one)}>
          New version
        </button>
      </Top>
      <main className="page">
        {problem && (
          <div className="bar bad" role="alert">
            {problem}
          </div>
        )}
        <div className="sections">
          <section className="section" aria-label="Assistant">
            <div className="kv wide-keys">
              <div>Id</div>
              <div className="mono">{one.assistant_id}</div>
              <div>Graph</div>
              <div>
                <a href={href(["threads"], { graph: one.graph_id })}>{one.graph_id}</a>
              </div>
              {one.description && (
                <>
                  <div>Description</div>
                  <div>{one.description}</div>
                </>
              )}
              <div>Updated</div>
              <div className="num">{inFull(one.updated_at)}</div>
            </div>
          </section>
          <Part title="Context" value={one.context} />
          <Part title="Config" value={one.config} />
          <Part title="Metadata" value={one.metadata} />
          <section className="section" aria-label="Versions">
            <h2>Versions</h2>
            {versions.error !== undefined && <Failure error={versions.error} what="The versions cannot be read" retry={versions.reload} />}
            <table className="table">
              <tbody>
                {(versions.data ?? []).map((version) => (
                  <tr key={version.version}>
                    <td className="num">{version.version}</td>
                    <td className="num muted" title={inFull(version.created_at)}>
                      {ago(version.created_at)}
                    </td>
                    <td className="wide">
                      <details>
                        <summary>{version.name || version.graph_id}</summary>
                        <Json value={{ context: version.context, config: version.config, metadata: version.metadata }} open={2} />
                      </details>
                    </td>
                    <td className="right acts">
                      <button type="button" className="btn quiet" aria-label={`Edit version ${version.version}`} onClick={() => setBase(version)}>
                        Edit
                      </button>
                      {version.version === one.version ? (
                        <span className="tag">current</span>
                      ) : (
                        <button type="button" className="btn" aria-label={`Use version ${version.version}`} onClick={() => void attempt(() => client.assistants.setLatest(assistantId, version.version))}>
                          Use
                        </button>
                      )}
                    </td>
                  </tr>
                ))}
              </tbody>
            </table>
          </section>
          <section className="section" aria-label="Schemas">
            <h2>Schemas</h2>
            <div className="inside">
              {schemas.error !== undefined ? <p className="muted">{messageOf(schemas.error)}</p> : <Json value={schemas.data ?? {}} />}
            </div>
          </section>
        </div>
      </main>
      {base !== undefined && (
        <Settings
          assistant={one}
          base={base}
          contextSchema={schemas.data?.context_schema as Schema | null | undefined}
          onClose={() => setBase(undefined)}
          onSaved={() => {
            setBase(undefined);
            void attempt(async () => undefined);
          }}
        />
      )}
      {leaving && (
        <Confirm
          title="Delete this assistant?"
          yes="Delete"
          onYes={() => {
            setLeaving(false);
            void attempt(async () => {
              await client.assistants.delete(assistantId);
              go(href(["assistants"]));
            });
          }}
          onClose={() => setLeaving(false)}
        >
          Its versions and crons are removed. Its threads and runs stay. This cannot be undone.
        </Confirm>
      )}
    </>
  );
}

function Part({ title, value }: { title: string; value: unknown }) {
  if (typeof value !== "object" || value === null || Object.keys(value).length === 0) return null;
  return (
    <section className="section" aria-label={title}>
      <h2>{title}</h2>
      <div className="inside">
        <Json value={value} open={2} />
      </div>
    </section>
  );
}

interface SettingsProps {
  /** What gets a new version; without one, a new assistant is made. */
  assistant?: Assistant;
  /** The version to begin with. */
  base?: AssistantVersion;
  graphs?: string[];
  contextSchema?: Schema | null | undefined;
  onClose: () => void;
  onSaved: (assistant: Assistant) => void;
}

function Settings({ assistant, base, graphs = [], contextSchema, onClose, onSaved }: SettingsProps) {
  const [graph, setGraph] = useState(base?.graph_id ?? graphs[0] ?? "");
  const [name, setName] = useState(base?.name ?? "");
  const [description, setDescription] = useState(base?.description ?? "");
  const [context, setContext] = useState<unknown>(filled(base?.context) ?? (contextSchema ? blankOf(contextSchema) : undefined));
  const [config, setConfig] = useState<unknown>(filled(configOf(base)));
  const [metadata, setMetadata] = useState<unknown>(filled(base?.metadata));
  const [problem, setProblem] = useState("");
  const [sending, setSending] = useState(false);
  const invalid = [context, config, metadata].includes(INVALID);
  const inForm = contextSchema && kindOf(resolved(contextSchema, contextSchema), contextSchema) === "object";

  const save = async (event: FormEvent) => {
    event.preventDefault();
    setSending(true);
    setProblem("");
    // The server refuses both: without a context its place is in the configuration, and the other way round.
    const { configurable: _, ...others } = (config ?? {}) as Record<string, unknown>;
    const payload = {
      name,
      description,
      metadata: (metadata ?? {}) as never,
      ...(filled(context) === undefined ? { config: (config ?? {}) as never } : { context, config: others as never }),
    };
    try {
      onSaved(assistant === undefined ? await client.assistants.create({ graphId: graph, ...payload }) : await client.assistants.update(assistant.assistant_id, payload));
    } catch (error) {
      setProblem(messageOf(error));
    }
    setSending(false);
  };

  return (
    <Dialog title={assistant === undefined ? "New assistant" : `New version of ${nameOf(assistant)}`} onClose={onClose} wide>
      <form onSubmit={(event) => void save(event)} className="form">
        {assistant === undefined && (
          <label>
            Graph
            <select className="field" value={graph} onChange={(event) => setGraph(event.target.value)}>
              {graphs.map((one) => (
                <option key={one}>{one}</option>
              ))}
            </select>
          </label>
        )}
        <label>
          Name
          <input value={name} onChange={(event) => setName(event.target.value)} data-first="" />
        </label>
        <label>
          Description
          <input value={description} onChange={(event) => setDescription(event.target.value)} />
        </label>
        {inForm ? (
          <fieldset>
            <legend>Context</legend>
            <SchemaForm schema={contextSchema} value={context} onChange={setContext} />
          </fieldset>
        ) : (
          <label>
            Context (JSON)
            <JsonField value={context} onChange={setContext} rows={3} />
          </label>
        )}
        <label>
          Config (JSON)
          <JsonField value={config} onChange={setConfig} rows={3} />
        </label>
        <label>
          Metadata (JSON)
          <JsonField value={metadata} onChange={setMetadata} rows={2} />
        </label>
        {problem && (
          <p role="alert" className="problem">
            {problem}
          </p>
        )}
        <div className="acts">
          <button type="button" className="btn" onClick={onClose}>
            Cancel
          </button>
          <button type="submit" className="btn main" disabled={invalid || sending || (assistant === undefined && name.trim() === "")}>
            {assistant === undefined ? "Make" : "Save as new version"}
          </button>
        </div>
      </form>
    </Dialog>
  );
}

/** An assistant's config; without `configurable` where that only repeats the context. */
function configOf(base: AssistantVersion | undefined): unknown {
  if (base === undefined || filled(base.context) === undefined) return base?.config;
  const { configurable: _, ...others } = (base.config ?? {}) as Record<string, unknown>;
  return others;
}

function filled(value: unknown): unknown {
  if (value === INVALID) return value;
  return typeof value === "object" && value !== null && Object.keys(value).length > 0 ? value : undefined;
}

function isDefault(assistant: Assistant): boolean {
  return (assistant.metadata as Record<string, unknown> | null)?.["created_by"] === "system";
}

function nameOf(assistant: Assistant): string {
  return assistant.name || assistant.graph_id;
}
