/** The store: its namespaces as a tree, the items of one of them, and one item to read, change and delete. */

import type { Item, SearchItem } from "@langchain/langgraph-sdk";
import { type FormEvent, type ReactNode, useEffect, useRef, useState } from "react";
import { client, messageOf } from "../api/client";
import { useQuery } from "../api/query";
import { Confirm } from "../parts/dialog";
import { ago, inFull, number } from "../parts/format";
import { Icon } from "../parts/icons";
import { Json } from "../parts/json";
import { JsonField } from "../parts/json-field";
import { useKeys } from "../parts/keys";
import { Bones, Empty, Failure } from "../parts/notices";
import { INVALID } from "../parts/schema";
import { Top } from "../parts/top";
import { go, useRoute, withQuery } from "../routes";

const PAGE = 100;
/** So many items are read to search them here, when the server has no index. */
const SEARCHED = 1_000;
const MOST_NAMESPACES = 1_000;
const RESTS_MS = 200;

export function StorePage() {
  const { query } = useRoute();
  const namespace = (query.get("ns") ?? "").split(".").filter(Boolean);
  const words = query.get("q") ?? "";
  const key = query.get("key");
  const at = (query.get("at") ?? "").split(".").filter(Boolean);
  const [limit, setLimit] = useState(PAGE);
  const [making, setMaking] = useState(false);
  const field = useRef<HTMLInputElement>(null);
  const settled = useSettled(words);
  const namespaces = useQuery("namespaces", () => client.store.listNamespaces({ limit: MOST_NAMESPACES }));
  const items = useQuery(`items ${JSON.stringify([namespace, settled, limit])}`, () => find(namespace, settled, limit));
  useEffect(() => setLimit(PAGE), [namespace.join("."), settled]);
  useKeys([{ key: "/", label: "Search", run: () => field.current?.focus() }]);

  const changed = () => {
    namespaces.reload();
    items.reload();
  };

  let content: ReactNode;
  if (items.data === undefined) {
    content = items.error === undefined ? <Bones rows={8} /> : <Failure error={items.error} what="The store cannot be read" retry={items.reload} />;
  } else if (items.data.items.length === 0) {
    content = settled ? (
      <Empty icon="search" title="No item matches" action={<a className="btn" href={withQuery({ q: null })}>Show all</a>} />
    ) : (
      <Empty icon="store" title="No items" action={<button type="button" className="btn" onClick={() => setMaking(true)}>New item</button>}>
        The store keeps what graphs remember across threads.
      </Empty>
    );
  } else {
    content = (
      <>
        <table className="table">
          <thead>
            <tr>
              <th>Namespace</th>
              <th>Key</th>
              <th>Value</th>
              {items.data.scored && <th className="right">Score</th>}
              <th className="right">Updated</th>
            </tr>
          </thead>
          <tbody>
            {items.data.items.map((item) => (
              <tr key={`${item.namespace.join(".")} ${item.key}`} className={item.key === key && item.namespace.join(".") === at.join(".") ? "on" : ""}>
                <td className="muted">{item.namespace.join(" › ")}</td>
                <td>
                  <a href={withQuery({ key: item.key, at: item.namespace.join(".") })}>{item.key}</a>
                </td>
                <td className="mono muted value">{JSON.stringify(item.value).slice(0, 200)}</td>
                {items.data?.scored && <td className="num muted right">{item.score?.toFixed(2) ?? ""}</td>}
                <td className="num muted right" title={inFull(stamp(item))}>
                  {ago(stamp(item))}
                </td>
              </tr>
            ))}
          </tbody>
        </table>
        {items.data.more && (
          <div className="more">
            <button type="button" className="btn" onClick={() => setLimit(limit + PAGE)}>
              More
            </button>
          </div>
        )}
      </>
    );
  }

  return (
    <>
      <Top title="Store" whole>
        <span className="space" />
        <label className="field" style={{ flex: "0 1 280px" }}>
          <Icon name="search" small />
          <span className="unseen">Search</span>
          <input
            ref={field}
            value={words}
            placeholder="Key or value"
            spellCheck={false}
            onChange={(event) => go(withQuery({ q: event.target.value || null }), true)}
            onKeyDown={(event) => event.key === "Escape" && event.currentTarget.blur()}
          />
          <kbd className="hide">/</kbd>
        </label>
        <button type="button" className="btn main" onClick={() => setMaking(true)}>
          New
        </button>
      </Top>
      <main className={`page store ${key !== null || making ? "opened" : ""}`}>
        <nav className="pane" aria-label="Namespaces">
          {namespaces.error !== undefined ? <Failure error={namespaces.error} what="The namespaces cannot be read" retry={namespaces.reload} /> : <Tree listed={namespaces.data?.namespaces ?? []} at={namespace} />}
        </nav>
        <section className="pane scroll" aria-label="Items" tabIndex={0}>
          {items.data !== undefined && settled !== "" && !items.data.scored && (
            <div className="bar" role="status">
              <span className="muted">The words were looked for in {number(items.data.read)} items.</span>
            </div>
          )}
          {content}
        </section>
        <aside className="pane" aria-label="Item">
          {making ? (
            <ItemForm
              namespace={namespace}
              onClose={() => setMaking(false)}
              onSaved={(at, key) => {
                setMaking(false);
                changed();
                go(withQuery({ key, at: at.join(".") }), true);
              }}
            />
          ) : key !== null ? (
            <ItemView key={`${at.join(".")} ${key}`} namespace={at} itemKey={key} onChanged={changed} />
          ) : (
            <p className="muted inside">Choose an item to see it whole.</p>
          )}
        </aside>
      </main>
    </>
  );
}

/** Items of a namespace and those below it. Where the server has an index, words order them; else they are looked for here. */
async function find(namespace: string[], words: string, limit: number) {
  const found = await search(namespace, { limit: words ? SEARCHED : limit + 1, ...(words ? { query: words } : {}) });
  if (!words) return { items: found.slice(0, limit), more: found.length > limit, scored: false, read: found.length };
  const scored = found.filter((item) => typeof item.score === "number");
  if (scored.length > 0) return { items: scored.slice(0, limit), more: scored.length > limit, scored: true, read: found.length };
  const wanted = words.toLowerCase().split(/\s+/).filter(Boolean);
  const items = found.filter((item) => {
    const text = `${item.namespace.join(".")}\n${item.key}\n${JSON.stringify(item.value)}`.toLowerCase();
    return wanted.every((word) => text.includes(word));
  });
  return { items: items.slice(0, limit), more: items.length > limit, scored: false, read: found.length };
}

async function search(namespace: string[], options: { limit: number; query?: string }): Promise<SearchItem[]> {
  return (await client.store.searchItems(namespace, { ...options, refreshTtl: false })).items;
}

/** All namespaces with those above them, each indented below its parent. */
function Tree({ listed, at }: { listed: string[][]; at: string[] }) {
  const all = new Set<string>();
  for (const one of listed) for (let depth = 1; depth <= one.length; depth++) all.add(one.slice(0, depth).join("."));
  const here = at.join(".");
  const link = (name: string, label: string, depth: number) => (
    <a
      key={name}
      href={withQuery({ ns: name || null, key: null, at: null })}
      className={`branch ${name === here ? "on" : ""}`}
      aria-current={name === here ? "true" : undefined}
      style={{ paddingLeft: 12 + depth * 12 }}
    >
      {label}
    </a>
  );
  return (
    <>
      {link("", "All namespaces", 0)}
      {[...all].sort().map((name) => link(name, name.split(".").at(-1) ?? name, name.split(".").length))}
      {listed.length === MOST_NAMESPACES && <p className="muted inside">The first {number(MOST_NAMESPACES)} are shown.</p>}
    </>
  );
}

function ItemView({ namespace, itemKey, onChanged }: { namespace: string[]; itemKey: string; onChanged: () => void }) {
  const item = useQuery(`item ${namespace.join(".")} ${itemKey}`, () => client.store.getItem(namespace, itemKey, { refreshTtl: false }) as Promise<(Item & { created_at?: string; updated_at?: string }) | null>);
  const [editing, setEditing] = useState(false);
  const [leaving, setLeaving] = useState(false);
  const [problem, setProblem] = useState("");
  if (item.error !== undefined) return <Failure error={item.error} what="The item cannot be read" retry={item.reload} />;
  if (item.data === undefined) return <Bones rows={4} />;
  if (item.data === null) return <Empty icon="store" title="There is no such item">It was deleted, or its time is over.</Empty>;
  const found = item.data;
  if (editing) {
    return (
      <ItemForm
        namespace={namespace}
        item={found}
        onClose={() => setEditing(false)}
        onSaved={() => {
          setEditing(false);
          item.reload();
          onChanged();
        }}
      />
    );
  }
  return (
    <>
      <header className="inside">
        <a className="btn quiet narrow" href={withQuery({ key: null, at: null })}>
          ‹ Items
        </a>
        <h2 className="cut">{itemKey}</h2>
        <span className="space" />
        <button type="button" className="btn danger" onClick={() => setLeaving(true)}>
          Delete
        </button>
        <button type="button" className="btn" onClick={() => setEditing(true)}>
          Edit
        </button>
      </header>
      {problem && (
        <div className="bar bad" role="alert">
          {problem}
        </div>
      )}
      <div className="kv">
        <div>Namespace</div>
        <div>{namespace.join(" › ")}</div>
        <div>Updated</div>
        <div className="num">{inFull(stamp(found))}</div>
      </div>
      <div className="inside">
        <Json value={found.value} open={3} />
      </div>
      {leaving && (
        <Confirm
          title="Delete this item?"
          yes="Delete"
          onYes={() => {
            setLeaving(false);
            client.store.deleteItem(namespace, itemKey).then(
              () => {
                onChanged();
                go(withQuery({ key: null, at: null }), true);
              },
              (error: unknown) => setProblem(messageOf(error)),
            );
          }}
          onClose={() => setLeaving(false)}
        >
          {itemKey} in {namespace.join(" › ")}. This cannot be undone.
        </Confirm>
      )}
    </>
  );
}

interface FormProps {
  namespace: string[];
  /** The item to change; without one, a new item is made. */
  item?: Item;
  onClose: () => void;
  onSaved: (namespace: string[], key: string) => void;
}

function ItemForm({ namespace, item, onClose, onSaved }: FormProps) {
  const [where, setWhere] = useState(namespace.join("."));
  const [key, setKey] = useState(item?.key ?? "");
  const [value, setValue] = useState<unknown>(item?.value ?? {});
  const [problem, setProblem] = useState("");
  const [sending, setSending] = useState(false);
  const isObject = typeof value === "object" && value !== null && !Array.isArray(value);
  const save = async (event: FormEvent) => {
    event.preventDefault();
    setSending(true);
    setProblem("");
    const labels = item === undefined ? where.split(".") : namespace;
    try {
      await client.store.putItem(labels, key, value as Record<string, unknown>);
      onSaved(labels, key);
    } catch (error) {
      setProblem(messageOf(error));
      setSending(false);
    }
  };
  return (
    <form className="form inside" onSubmit={(event) => void save(event)}>
      <h2>{item === undefined ? "New item" : item.key}</h2>
      {item === undefined && (
        <>
          <label>
            Namespace
            <input value={where} placeholder="users.ann" onChange={(event) => setWhere(event.target.value)} />
          </label>
          <label>
            Key
            <input value={key} onChange={(event) => setKey(event.target.value)} />
          </label>
        </>
      )}
      <label>
        Value (JSON)
        <JsonField value={value} onChange={setValue} rows={12} />
      </label>
      {value !== INVALID && !isObject && <p className="faint">The value is a JSON object.</p>}
      {problem && (
        <p role="alert" className="problem">
          {problem}
        </p>
      )}
      <div className="acts">
        <button type="button" className="btn" onClick={onClose}>
          Cancel
        </button>
        <button type="submit" className="btn main" disabled={!isObject || !key || !where || sending}>
          Save
        </button>
      </div>
    </form>
  );
}

/** The SDK's types name these fields otherwise than the server sends them. */
function stamp(item: object): string {
  const { updated_at, updatedAt } = item as { updated_at?: string; updatedAt?: string };
  return updated_at ?? updatedAt ?? "";
}

function useSettled(text: string): string {
  const [settled, settle] = useState(text);
  useEffect(() => {
    const timer = setTimeout(() => settle(text), RESTS_MS);
    return () => clearTimeout(timer);
  }, [text]);
  return settled;
}
