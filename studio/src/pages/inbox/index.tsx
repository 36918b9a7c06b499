/** The inbox: all threads that wait for an answer, grouped by graph, and the form that answers one or several of them. */

import type { Thread } from "@langchain/langgraph-sdk";
import { type ReactNode, useEffect, useState } from "react";
import { client, messageOf } from "../../api/client";
import { useQuery } from "../../api/query";
import type { Interrupted } from "../../live/reducer";
import { ago, inFull, number, shortId, titleOf } from "../../parts/format";
import { Json } from "../../parts/json";
import { useKeys } from "../../parts/keys";
import { Bones, Empty, Failure } from "../../parts/notices";
import { Top } from "../../parts/top";
import { go, href, useRoute, withQuery } from "../../routes";
import { Answer } from "./answer";
import { type Shape, alike, questionOf, resumeOf, shapeOf } from "./shape";

const PAGE = 200;
const POLL_MS = 5_000;
/** In a thread's metadata: until when the inbox does not show it. */
const LATER = "inbox_later";
const HOUR_MS = 3_600_000;
const SPANS: [string, number][] = [
  ["1 hour", HOUR_MS],
  ["1 day", 24 * HOUR_MS],
  ["1 week", 168 * HOUR_MS],
];

interface Waiting {
  id: string;
  title: string;
  graph: string;
  assistant: string;
  updated: string;
  interrupts: Interrupted[];
  later: number;
}

/** The threads that wait, the newest first. */
function useWaiting(limit: number) {
  return useQuery(
    `inbox ${limit}`,
    async () => {
      const [threads, total] = await Promise.all([
        client.threads.search({
          status: "interrupted",
          limit,
          sortBy: "updated_at",
          sortOrder: "desc",
          select: ["thread_id", "metadata", "updated_at", "interrupts"],
          extract: { first: "values.messages[0].content" },
        }),
        client.threads.count({ status: "interrupted" }),
      ]);
      return { threads: threads.map(waitingOf), total };
    },
    POLL_MS,
  );
}

function waitingOf(thread: Thread): Waiting {
  const metadata = (thread.metadata ?? {}) as Record<string, unknown>;
  const graph = String(metadata["graph_id"] ?? "");
  return {
    id: thread.thread_id,
    title: titleOf(thread.metadata, thread.extracted?.["first"]),
    graph,
    assistant: String(metadata["assistant_id"] ?? graph),
    updated: thread.updated_at,
    interrupts: Object.values(thread.interrupts ?? {}).flat() as Interrupted[],
    later: Date.parse(String(metadata[LATER] ?? "")) || 0,
  };
}

export function InboxPage({ threadId }: { threadId: string | undefined }) {
  const { query } = useRoute();
  const withLater = query.get("later") === "1";
  const [limit, setLimit] = useState(PAGE);
  const answer = useWaiting(limit);
  const [chosen, setChosen] = useState<ReadonlySet<string>>(new Set());
  const [problem, setProblem] = useState("");
  /** Answered or put off here, and not yet told so by the server. */
  const [gone, setGone] = useState<ReadonlySet<string>>(new Set());
  const now = Date.now();

  const all = (answer.data?.threads ?? []).filter((one) => !gone.has(one.id));
  const shown = all.filter((one) => withLater || one.later <= now);
  const hidden = all.length - all.filter((one) => one.later <= now).length;
  const groups = grouped(shown);
  const ordered = [...groups.keys()].sort().flatMap((graph) => groups.get(graph) ?? []);
  const picked = ordered.filter((one) => chosen.has(one.id));
  const open = picked.length > 0 ? picked[0] : all.find((one) => one.id === threadId);
  const targets = picked.length > 0 ? picked : open === undefined ? [] : [open];

  useEffect(() => {
    // A thread that waits again, because its next question came, is shown again.
    setGone(new Set());
  }, [answer.data]);

  const move = (by: number) => {
    const at = ordered.findIndex((one) => one.id === threadId);
    const next = ordered[Math.max(0, Math.min(ordered.length - 1, at + by))];
    if (next !== undefined) go(addressOf(next.id), true);
  };
  const toggle = (ids: string[], on: boolean) => setChosen(new Set(on ? [...chosen, ...ids] : [...chosen].filter((id) => !ids.includes(id))));
  useKeys([
    { key: "j", label: "Next request", run: () => move(1) },
    { key: "k", label: "Request before", run: () => move(-1) },
    { key: "x", label: "Select", run: () => threadId !== undefined && toggle([threadId], !chosen.has(threadId)) },
    { key: "Enter", label: "Open the thread", run: () => open !== undefined && go(href(["threads", open.id])) },
    { key: "Escape", label: "Select nothing", run: () => (chosen.size > 0 ? setChosen(new Set()) : go(addressOf(), true)) },
  ]);

  /** Does something to all targets. What failed stays selected, and the first reason is shown. */
  const each = async (work: (thread: Waiting) => Promise<unknown>, leaves: (thread: Waiting) => boolean) => {
    setProblem("");
    const done = await Promise.allSettled(targets.map(work));
    const failed = targets.filter((_, index) => done[index]?.status === "rejected");
    const left = targets.filter((one) => !failed.includes(one) && leaves(one)).map((one) => one.id);
    setGone(new Set([...gone, ...left]));
    setChosen(new Set(picked.length > 1 ? failed.map((one) => one.id) : []));
    answer.reload();
    const first = done.find((one) => one.status === "rejected");
    if (first !== undefined) {
      setProblem(`${failed.length > 1 ? `${failed.length} of ${targets.length} threads: ` : ""}${messageOf(first.reason)}`);
      throw first.reason;
    }
    const rest = ordered.filter((one) => !left.includes(one.id));
    if (open !== undefined && left.includes(open.id)) {
      const at = ordered.findIndex((one) => one.id === open.id);
      const next = rest.find((one) => ordered.indexOf(one) > at) ?? rest.at(-1);
      go(addressOf(targets.length === 1 && !isNarrow() ? next?.id : undefined), true);
    }
  };
  const resume = (question: Interrupted, value: unknown) =>
    each(
      (thread) => resumeThread(thread, thread === open ? [question] : thread.interrupts, value),
      (thread) => thread.interrupts.length <= 1 || (picked.length > 1 && thread !== open),
    );
  const proceed = () => each((thread) => client.runs.create(thread.id, thread.assistant, { input: null, streamResumable: true }), () => true);
  const putOff = (ms: number) =>
    each(
      (thread) => client.threads.update(thread.id, { metadata: { [LATER]: ms === 0 ? null : new Date(Date.now() + ms).toISOString() } as never }),
      () => ms > 0 && !withLater,
    ).catch(() => undefined);

  let list: ReactNode;
  if (answer.data === undefined) {
    list = answer.error === undefined ? <Bones rows={8} /> : <Failure error={answer.error} what="The inbox cannot be read" retry={answer.reload} />;
  } else if (shown.length === 0) {
    list = (
      <Empty icon="inbox" title="Nothing waits for you">
        {hidden > 0 ? "All that waits was put off for later." : "Threads whose graphs ask something are listed here until they are answered."}
      </Empty>
    );
  } else {
    list = [...groups.keys()].sort().map((graph) => {
      const members = groups.get(graph) ?? [];
      const every = members.every((one) => chosen.has(one.id));
      return (
        <section key={graph} aria-label={graph || "No graph"}>
          <h2>
            <input type="checkbox" className="tick" checked={every} aria-label={`Select all of ${graph}`} onChange={() => toggle(members.map((one) => one.id), !every)} />
            <span className="cut">{graph || "No graph"}</span>
            <span className="faint num">{members.length}</span>
          </h2>
          <ul>
            {members.map((one) => (
              <li key={one.id} className={one.id === open?.id ? "on" : ""}>
                <input type="checkbox" className="tick" checked={chosen.has(one.id)} aria-label={`Select ${one.title || one.id}`} onChange={() => toggle([one.id], !chosen.has(one.id))} />
                <a href={addressOf(one.id)} aria-current={one.id === open?.id ? "true" : undefined}>
                  <span className="cut">{one.title || <span className="mono">{shortId(one.id)}</span>}</span>
                  <span className="faint num" title={inFull(one.updated)}>
                    {ago(one.updated)}
                  </span>
                  <span className="cut muted ask-line">{one.interrupts[0] === undefined ? "stopped at a breakpoint" : questionOf(one.interrupts[0])}</span>
                </a>
              </li>
            ))}
          </ul>
        </section>
      );
    });
  }

  return (
    <>
      <Top title="Inbox" whole>
        <span className="faint num hide">{answer.data === undefined ? "" : number(shown.length)}</span>
        <span className="space" />
        {(hidden > 0 || withLater) && (
          <a className="btn" href={withQuery({ later: withLater ? null : "1" })} aria-pressed={withLater} role="button">
            {withLater ? "Hide what was put off" : `${hidden} put off`}
          </a>
        )}
      </Top>
      <main className={`page inbox ${open === undefined ? "" : "opened"}`}>
        <div className="requests">
          {answer.error !== undefined && answer.data !== undefined && (
            <div className="bar bad" role="alert">
              {messageOf(answer.error)} This is the inbox of a moment ago.
            </div>
          )}
          {list}
          {answer.data !== undefined && answer.data.total > limit && (
            <div className="more">
              <button type="button" className="btn" onClick={() => setLimit(limit + PAGE)}>
                {number(answer.data.total - limit)} more
              </button>
            </div>
          )}
        </div>
        <section className="request" aria-label="Request">
          {problem && (
            <div className="bar bad" role="alert">
              {problem}
            </div>
          )}
          {open === undefined ? (
            shown.length > 0 && <p className="muted inside">Choose a request, or select several and answer them at once.</p>
          ) : (
            <Request key={`${open.id} ${picked.length}`} thread={open} targets={targets} onResume={resume} onProceed={proceed} onLater={putOff} />
          )}
        </section>
      </main>
    </>
  );
}

interface RequestProps {
  thread: Waiting;
  targets: Waiting[];
  onResume: (question: Interrupted, value: unknown) => Promise<void>;
  onProceed: () => Promise<void>;
  onLater: (ms: number) => Promise<void>;
}

function Request({ thread, targets, onResume, onProceed, onLater }: RequestProps) {
  const several = targets.length > 1;
  const questions = targets.flatMap((one) => one.interrupts);
  const first = questions[0];
  const sameShape = first !== undefined && questions.every((one) => alike(shapeOf(one), shapeOf(first)));
  const stopped = targets.every((one) => one.interrupts.length === 0);
  const mixed = several && !stopped && targets.some((one) => one.interrupts.length === 0);
  return (
    <>
      <header className="inside">
        <a className="btn quiet narrow" href={addressOf()}>
          ‹ Inbox
        </a>
        <h2 className="cut">{several ? `${targets.length} threads` : thread.title || shortId(thread.id)}</h2>
        <span className="space" />
        {!several && (
          <a className="btn" href={href(["threads", thread.id])}>
            Open
          </a>
        )}
        <select className="field" aria-label="Later" value="" onChange={(event) => void onLater(Number(event.target.value))}>
          <option value="">Later</option>
          {SPANS.map(([word, ms]) => (
            <option key={word} value={ms}>
              in {word}
            </option>
          ))}
          {thread.later > Date.now() && <option value={0}>now</option>}
        </select>
      </header>
      <div className="inside">
        {several && !stopped && (
          <>
            <ul className="asked">
              {targets.map((one) => (
                <li key={one.id}>
                  <b>{one.title || shortId(one.id)}</b>
                  {one.interrupts.map((question, index) => (
                    <div key={index} className="muted">
                      {questionOf(question)}
                    </div>
                  ))}
                </li>
              ))}
            </ul>
            {mixed ? (
              <p className="muted">Some of these stopped at a breakpoint and take no answer. Select only threads that ask something.</p>
            ) : (
              <>
                {!sameShape && <p className="muted">These threads ask for different kinds of answers. Each gets the same one.</p>}
                {first !== undefined && <Answer shape={sameShape ? shapeOf(first) : { kind: "open" }} count={targets.length} onAnswer={(value) => onResume(first, value)} />}
              </>
            )}
          </>
        )}
        {!several && thread.interrupts.map((one, index) => <Question key={one.id ?? index} one={one} onAnswer={(value) => onResume(one, value)} />)}
        {stopped && (
          <>
            <p className="muted">{several ? "These threads" : "This thread"} stopped at a breakpoint, before or after a node. There is no question to answer.</p>
            <div className="acts">
              <button type="button" className="btn main" onClick={() => void onProceed().catch(() => undefined)}>
                {several ? `Continue all ${targets.length}` : "Continue"}
              </button>
            </div>
          </>
        )}
      </div>
    </>
  );
}

function Question({ one, onAnswer }: { one: Interrupted; onAnswer: (value: unknown) => Promise<void> }) {
  const shape = shapeOf(one);
  return (
    <article className="question">
      <Asked one={one} shape={shape} />
      <Answer shape={shape} onAnswer={onAnswer} />
    </article>
  );
}

/** What is asked: the actions with their arguments, a text as it is, other values as JSON. */
export function Asked({ one, shape }: { one: Interrupted; shape: Shape }) {
  if ("actions" in shape) {
    return shape.actions.map((action, index) => (
      <div key={index} className="asked-action">
        <h3>
          <code>{action.name}</code>
        </h3>
        {action.description && <p className="text">{action.description}</p>}
        <Json value={action.args} open={2} />
      </div>
    ));
  }
  const question = questionOf(one);
  if (typeof one.value !== "object" || one.value === null) return <p className="text">{question}</p>;
  return <Json value={one.value} open={2} />;
}

function resumeThread(thread: Waiting, questions: Interrupted[], value: unknown): Promise<unknown> {
  const answers = questions.map((one) => resumeOf(one, value));
  const keyed = answers.length > 1 && questions.every((one) => one.id !== undefined);
  const resume = keyed ? Object.fromEntries(questions.map((one) => [one.id as string, value])) : answers[0];
  return client.runs.create(thread.id, thread.assistant, { command: { resume }, streamResumable: true, streamSubgraphs: true });
}

function grouped(threads: Waiting[]): Map<string, Waiting[]> {
  const groups = new Map<string, Waiting[]>();
  for (const one of threads) groups.set(one.graph, [...(groups.get(one.graph) ?? []), one]);
  return groups;
}

function addressOf(threadId?: string): string {
  const later = new URLSearchParams(location.hash.split("?")[1]).get("later");
  return href(threadId === undefined ? ["inbox"] : ["inbox", threadId], { later });
}

function isNarrow(): boolean {
  return matchMedia("(max-width: 640px)").matches;
}
