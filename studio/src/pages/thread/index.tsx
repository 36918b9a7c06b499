/** One thread: its graph, its history in three densities, and its state. */

import type { Assistant, ThreadState, ThreadStatus } from "@langchain/langgraph-sdk";
import { lazy, type ReactNode, Suspense, useMemo, useState } from "react";
import { client, messageOf, statusOf } from "../../api/client";
import { type ForkedFrom, getQueue, useFeatures } from "../../api/extras";
import { useQuery } from "../../api/query";
import { GraphPicture } from "../../draw/graph";
import { STREAM_MODES } from "../../live/follow";
import { messagesOf } from "../../live/messages";
import { useThread } from "../../live/use-thread";
import { shortId, titleOf } from "../../parts/format";
import { Icon } from "../../parts/icons";
import { useKeys } from "../../parts/keys";
import { Bones, Empty, Failure } from "../../parts/notices";
import { Status } from "../../parts/status";
import { Top } from "../../parts/top";
import { go, href, lastList, useRoute, withQuery } from "../../routes";
import { Composer, type Sent } from "./composer";
import { Conversation } from "./conversation";
import { useForks } from "./forks/actions";
import { CheckpointActs } from "./forks/checkpoint";
import { type Asking, ForkDialog } from "./forks/dialogs";
import "./forks/forks.css";
import { useDecor } from "./forks/messages";
import { StatePane } from "./state";
import { Steps } from "./steps";
import { interruptsOf, shownNodes } from "./problems";

const Timeline = lazy(() => import("./forks/timeline"));
const LineagePage = lazy(() => import("./forks/lineage"));
const ComparePage = lazy(() => import("./forks/compare"));

const DENSITIES = { conversation: "Conversation", steps: "Steps", everything: "Everything" };
const OTHER_VIEWS = { timeline: "Timeline", lineage: "Lineage", compare: "Compare" };
/** On a narrow screen the panes beside the history are views too. */
const NARROW_VIEWS = { ...DENSITIES, ...OTHER_VIEWS, state: "State", graph: "Graph" };
const LAST_USED = "threadloom-studio-assistant";
type View = keyof typeof NARROW_VIEWS;

export function ThreadPage({ threadId }: { threadId: string | null }) {
  const { query } = useRoute();
  const followed = useThread(threadId);
  const { thread, state, run, queued, follower, error } = followed;
  const assistants = useQuery("assistants", () => client.assistants.search({ limit: 1000 }));
  const [problem, setProblem] = useState("");
  const [chosen, choose] = useState("");
  const [asking, ask] = useState<Asking | undefined>(undefined);

  const view = (query.get("view") ?? "conversation") as View;
  const checkpoint = query.get("cp");
  const node = query.get("node");
  const known = useMemo(() => (assistants.data ?? []).toSorted((a, b) => nameOf(a).localeCompare(nameOf(b))), [assistants.data]);
  const graph = query.get("graph");
  const assistantId =
    chosen || query.get("assistant") || text(thread?.metadata?.["assistant_id"]) || (known.find((one) => one.graph_id === (text(thread?.metadata?.["graph_id"]) || graph)) ?? known.find((one) => one.assistant_id === lastUsed()) ?? known[0])?.assistant_id;
  const assistant = known.find((one) => one.assistant_id === assistantId);
  const title = threadId === null ? "New thread" : titleOf(thread?.metadata, messagesOf(state?.values)[0]?.content) || shortId(threadId);
  const isRunning = run?.phase === "running" || run?.phase === "pending";
  const status = isRunning ? "busy" : thread?.status;
  const states = useMemo(() => shownNodes(run, state), [run, state]);

  const waits = useFeatures().queue && threadId !== null && run?.phase === "pending";
  const queue = useQuery(waits ? `queue ${threadId}` : null, () => getQueue(threadId ?? undefined), 1_000).data;
  const place = waits ? queue?.find((one) => one.run_id === run.runId) : undefined;

  const attempt = async (work: () => Promise<unknown>) => {
    setProblem("");
    try {
      await work();
    } catch (error) {
      setProblem(messageOf(error));
      throw error;
    }
  };
  const forks = useForks({
    threadId: threadId ?? "",
    thread,
    state,
    assistantId,
    running: isRunning,
    attempt,
    onRun: (runId) => void follower?.join(runId, true),
    refresh: async () => follower?.refresh(),
  });
  // The conversation of an earlier checkpoint, or of another branch.
  const earlier = useQuery(checkpoint === null ? null : `state ${threadId} ${checkpoint}`, () => client.threads.getState(threadId ?? "", checkpoint ?? undefined));
  const isEarlier = checkpoint !== null && view === "conversation" && threadId !== null;
  const shown = isEarlier ? earlier.data : state;
  const decor = useDecor({ forks, shown, checkpoint: isEarlier ? checkpoint : null, forkedFrom: forkedFromOf(thread), onAsk: ask });
  const views = Object.fromEntries(Object.entries(NARROW_VIEWS).filter(([name]) => (name !== "lineage" || forks.features.lineage) && (name !== "compare" || forks.features.compare)));

  const send = (sent: Sent) =>
    isEarlier ? forks.runFrom(checkpoint, sent) :
    attempt(async () => {
      if (assistantId === undefined) throw new Error("There is no assistant to run.");
      const id = threadId ?? (await client.threads.create({ ...(assistant ? { graphId: assistant.graph_id } : {}) })).thread_id;
      const started = await client.runs.create(id, assistantId, {
        streamMode: [...STREAM_MODES],
        streamSubgraphs: true,
        multitaskStrategy: "enqueue",
        ...(sent as object),
        streamResumable: true,
      });
      localStorage.setItem(LAST_USED, assistantId);
      if (threadId === null) go(href(["threads", id]), true);
      else if (!isRunning) void follower?.join(started.run_id, started.status === "pending");
      else await follower?.refresh();
    });
  const stop = () =>
    attempt(async () => {
      if (threadId !== null && run !== undefined) await client.runs.cancel(threadId, run.runId, false, "interrupt");
    }).catch(() => undefined);
  const copy = () =>
    attempt(async () => {
      if (threadId !== null) go(href(["threads", (await client.threads.copy(threadId)).thread_id]));
    }).catch(() => undefined);

  useKeys([
    { key: "v", label: "Conversation, steps, everything", run: () => go(withQuery({ view: following(view) }), true) },
    { key: "c", label: "Copy this thread", run: () => void copy() },
    { key: "t", label: "Timeline", run: () => go(withQuery({ view: "timeline" })) },
    ...(forks.features.lineage ? [{ key: "l", label: "Lineage", run: () => go(withQuery({ view: "lineage" })) }] : []),
    ...(forks.features.compare ? [{ key: "=", label: "Compare with…", run: () => ask({ what: "compare", checkpoint }) }] : []),
    ...(forks.features.reset ? [{ key: "u", label: "Undo the last reset", run: forks.undo }] : []),
    { key: "i", label: "Write", run: () => document.querySelector<HTMLTextAreaElement>(".composer textarea")?.focus() },
    { key: "Escape", label: isRunning ? "Stop the run" : "Back to the threads", run: () => (isRunning ? void stop() : go(lastList())) },
  ]);

  if (threadId !== null && thread === undefined) {
    return (
      <>
        <Top title={shortId(threadId)} />
        <main className="page">
          {error === undefined ? (
            <Bones />
          ) : statusOf(error) === 404 ? (
            <Empty icon="threads" title="There is no such thread" action={<a className="btn" href={href(["threads"])}>Threads</a>}>
              It was deleted, or it is not yours to see.
            </Empty>
          ) : (
            <Failure error={error} what="The thread cannot be read" retry={() => void follower?.refresh()} />
          )}
        </main>
      </>
    );
  }

  const picture = assistantId !== undefined && (
    <GraphPicture
      assistantId={assistantId}
      states={states}
      picked={node}
      onPick={(name) => go(withQuery({ view: "steps", node: name === node ? null : name }), true)}
    />
  );
  const statePane = threadId !== null && (
    <StatePane threadId={threadId} head={state} live={run} checkpoint={checkpoint} acts={(shown) => <CheckpointActs forks={forks} state={shown} onAsk={ask} />} />
  );

  let middle: ReactNode;
  if (view === "conversation" || threadId === null) {
    const name = assistant ? nameOf(assistant) : "graph";
    middle = !isEarlier ? (
      <Conversation followed={followed} name={name} isNew={threadId === null} reason={place?.reason} decor={decor} />
    ) : earlier.error !== undefined ? (
      <Failure error={earlier.error} what="The checkpoint cannot be read" retry={earlier.reload} />
    ) : earlier.data === undefined ? (
      <Bones />
    ) : (
      <Conversation key={checkpoint} followed={{ ...followed, state: earlier.data, run: undefined, thread: { ...thread!, status: statusAt(earlier.data) } }} name={name} isNew={false} reason={undefined} decor={decor} />
    );
  } else if (view === "timeline") {
    middle = <Timeline forks={forks} head={forks.head ?? ""} picked={checkpoint} forkedFrom={forkedFromOf(thread)} />;
  } else if (view === "lineage") {
    middle = <LineagePage key={threadId} forks={forks} title={title} />;
  } else if (view === "compare") {
    middle = <ComparePage forks={forks} title={title} other={query.get("vs")} checkpoint={checkpoint} otherCheckpoint={query.get("vcp")} onAsk={ask} />;
  } else if (view === "state") {
    middle = statePane;
  } else if (view === "graph") {
    middle = <div className="canvas-pane">{picture}</div>;
  } else {
    middle = (
      <Steps
        key={threadId}
        threadId={threadId}
        head={state?.checkpoint?.checkpoint_id ?? ""}
        run={run}
        detailed={view === "everything"}
        picked={checkpoint}
        node={node}
      />
    );
  }

  return (
    <>
      <Top title={title}>
        {status !== undefined && <Status of={status} className="muted" />}
        {queued > 0 && <span className="tag hide">{queued} queued</span>}
        <Origin thread={thread} />
        <span className="space" />
        {threadId !== null && (
          <>
            {[DENSITIES, OTHER_VIEWS].map((group, index) => (
              <span key={index} className="tabs wide-only" role="tablist" aria-label={index === 0 ? "Density" : "Branches and copies"}>
                {Object.entries(group).filter(([name]) => name in views).map(([name, label]) => (
                  <a key={name} role="tab" aria-selected={name === view} className={name === view ? "on" : ""} href={withQuery({ view: name })}>
                    {label}
                  </a>
                ))}
              </span>
            ))}
            <select className="field views" aria-label="View" value={view} onChange={(event) => go(withQuery({ view: event.target.value }), true)}>
              {Object.entries(views).map(([name, label]) => (
                <option key={name} value={name}>
                  {label}
                </option>
              ))}
            </select>
            <button type="button" className="btn hide" onClick={() => void copy()}>
              Copy <kbd className="hide">c</kbd>
            </button>
          </>
        )}
      </Top>
      <main className={`page thread ${view === "lineage" || view === "compare" ? "alone" : ""}`}>
        <aside className="pane graph-pane" aria-label="Graph">
          <header>
            <span className="cut">{assistant?.graph_id ?? "Graph"}</span>
            <span className="space" />
            {threadId !== null && (
              <a href={withQuery({ view: view === "graph" ? null : "graph" })} title="The graph in the middle of the page">
                {view === "graph" ? "smaller" : "larger"}
              </a>
            )}
          </header>
          <div className="canvas-pane">
            {view !== "graph" && picture}
            {assistants.data?.length === 0 && <p className="inside muted">This server has no assistants.</p>}
          </div>
        </aside>
        <section className="pane middle" aria-label={NARROW_VIEWS[view] ?? "Thread"}>
          {error !== undefined && (
            <div className="bar bad" role="alert">
              {messageOf(error)} This is the thread of a moment ago.
            </div>
          )}
          {isEarlier && (
            <div className="bar">
              <span className="muted">{checkpoint === forks.head ? "The newest state." : "An earlier state, or another branch. What you send goes on from here."}</span>
              <span className="space" />
              {forks.features.reset && checkpoint !== forks.head && (
                <button type="button" className="btn" disabled={isRunning} onClick={() => forks.reset(checkpoint)}>
                  Reset to here
                </button>
              )}
              <a className="btn" href={withQuery({ cp: null })}>
                Back to the newest
              </a>
            </div>
          )}
          {query.get("moved") !== null && query.get("moved") === forks.head && (
            <div className="bar" role="status">
              <span className="muted">The thread was reset. What it showed before is kept.</span>
              <span className="space" />
              <button type="button" className="btn" disabled={isRunning} onClick={forks.undo}>
                Undo
              </button>
            </div>
          )}
          <div className="talk" tabIndex={0}>
            <Suspense fallback={<Bones />}>{middle}</Suspense>
          </div>
          {checkpoint !== null && (view === "steps" || view === "everything" || view === "timeline") && (
            <div className="beside">
              <a className="btn" href={withQuery({ view: "state" })}>
                State
              </a>
              <CheckpointActs forks={forks} state={earlier.data} onAsk={ask} />
            </div>
          )}
          {problem && (
            <div className="bar bad" role="alert">
              {problem}
            </div>
          )}
          <Composer
            key={threadId ?? "new"}
            assistants={known}
            assistantId={assistantId}
            onAssistant={choose}
            interrupts={isRunning ? [] : isEarlier ? interruptsOf(earlier.data, undefined) : interruptsOf(state, thread)}
            stopped={!isRunning && !isEarlier && thread?.status === "interrupted" && interruptsOf(state, thread).length === 0}
            running={isRunning}
            onSend={send}
            onStop={() => void stop()}
          />
        </section>
        <aside className="pane state-pane" aria-label="State">
          {statePane}
        </aside>
      </main>
      {asking !== undefined && <ForkDialog asking={asking} forks={forks} assistantId={assistantId} onClose={() => ask(undefined)} />}
    </>
  );
}

/** Where a copy came from. */
function Origin({ thread }: { thread: object | undefined }) {
  const from = forkedFromOf(thread);
  if (from === undefined) return null;
  return (
    <a className="tag hide" href={href(["threads", from.thread_id], { cp: from.checkpoint_id })}>
      <Icon name="copies" small /> copy of {shortId(from.thread_id)}
    </a>
  );
}

function forkedFromOf(thread: object | undefined): ForkedFrom | undefined {
  return (thread as { forked_from?: ForkedFrom } | undefined)?.forked_from;
}

/** The status that a thread with this newest state would have. */
function statusAt(state: ThreadState): ThreadStatus {
  if (state.tasks.some((task) => (task.interrupts ?? []).length > 0)) return "interrupted";
  return state.tasks.some((task) => task.error) ? "error" : "idle";
}

function nameOf(assistant: Assistant): string {
  return assistant.name || assistant.graph_id;
}

/** The assistant that was run last in this browser. */
function lastUsed(): string | null {
  return localStorage.getItem(LAST_USED);
}

function following(view: View): View {
  const names = Object.keys(DENSITIES) as View[];
  return names[(names.indexOf(view) + 1) % names.length] ?? "conversation";
}

function text(value: unknown): string {
  return typeof value === "string" ? value : "";
}
