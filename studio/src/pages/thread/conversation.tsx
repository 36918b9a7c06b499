/** The thread as a conversation: messages, tool calls folded, what is being written, failures, open questions. */

import { Fragment, type ReactNode, useEffect, useLayoutEffect, useRef } from "react";
import type { Followed } from "../../live/follow";
import { type Call, type Message, type Turn, messagesOf, roleOf, turnsOf } from "../../live/messages";
import { shownMessages } from "../../live/reducer";
import { number, textOf } from "../../parts/format";
import { Json } from "../../parts/json";
import { Empty } from "../../parts/notices";
import { Rich } from "../../parts/rich";
import type { Decor } from "./forks/messages";
import { interruptsOf, problemOf } from "./problems";

const NAMES: Record<string, string> = { human: "You", system: "System" };
const NEAR_END = 80;

interface Props {
  followed: Followed;
  name: string;
  isNew: boolean;
  /** What a queued run waits for, in the server's words. */
  reason: string | undefined;
  /** What stands beside and between the messages. */
  decor?: Decor | undefined;
}

export function Conversation({ followed, name, isNew, reason, decor }: Props) {
  const { thread, state, run } = followed;
  const { messages, writing, nested } = shownMessages(messagesOf(state?.values), run);
  const turns = turnsOf(messages);
  const problem = problemOf(run, state, thread);
  const open = run?.phase === "running" || run?.phase === "pending" ? [] : interruptsOf(state, thread);
  const end = useFollowedEnd(messages, problem, open.length);
  const running = [...(run?.tasks.values() ?? [])].filter((task) => task.ended === undefined && !task.namespace).map((task) => task.name);

  let progress: string | undefined;
  if (run?.phase === "pending") progress = `queued: ${reason ?? "waits for a worker"}`;
  else if (run?.phase === "running") {
    const attempt = run.attempt > 1 ? `, attempt ${run.attempt}` : "";
    progress = `${running.length > 0 ? `running ${[...new Set(running)].join(", ")}` : "running"}${attempt}`;
  }
  const last = turns.at(-1);
  const progressInLast = progress !== undefined && last?.role === "ai";

  if (turns.length === 0 && progress === undefined && problem === undefined && open.length === 0) {
    const values = state?.values as Record<string, unknown> | null | undefined;
    const hasValues = values && Object.keys(values).length > 0;
    return hasValues ? (
      <div className="turn ai">
        <div className="who">{name}</div>
        <div style={{ marginTop: 6 }}>
          <Json value={values} open={2} />
        </div>
      </div>
    ) : (
      <Empty icon="threads" title={isNew ? "A new thread" : "Nothing was said yet"}>
        Write a message below, or give the graph its input as JSON.
      </Empty>
    );
  }
  return (
    <>
      {decor?.after(null)}
      {turns.map((turn, index) => (
        <Fragment key={turn.key}>
          <TurnView
            turn={turn}
            name={name}
            writing={writing}
            nested={nested}
            progress={progressInLast && index === turns.length - 1 ? progress : undefined}
            decor={decor}
          />
          {decor?.after(turn)}
        </Fragment>
      ))}
      {progress !== undefined && !progressInLast && (
        <section className="turn ai">
          <div className="who">
            {name} <Progress words={progress} pending={run?.phase === "pending"} />
          </div>
        </section>
      )}
      {(run?.custom.length ?? 0) > 0 && (
        <section className="turn ai">
          <details className="fold">
            <summary>
              <span>{number(run!.custom.length)} custom events</span>
              <span className="space" />
            </summary>
            <div className="body">
              <Json value={run!.custom.map((one) => one.data)} open={2} />
            </div>
          </details>
        </section>
      )}
      {problem !== undefined && (
        <section className="turn ai" role="alert">
          <div className="note bad">
            <b>{problem.name}</b>
            {problem.node !== undefined && (
              <>
                {" "}
                in <code>{problem.node}</code>
              </>
            )}
            {problem.message && <pre>{problem.message}</pre>}
          </div>
        </section>
      )}
      {open.map((one, index) => (
        <section className="turn ai" key={one.id ?? index}>
          <div className="note wait">
            <b>Waits for an answer</b>
            <div style={{ marginTop: 4 }}>{typeof one.value === "string" ? one.value : <Json value={one.value} open={2} />}</div>
          </div>
        </section>
      ))}
      <div ref={end} />
    </>
  );
}

function Progress({ words, pending }: { words: string; pending: boolean }) {
  return (
    <span className={`state ${pending ? "pending" : "busy"} muted`} style={{ fontWeight: 400 }} role="status">
      {words}
    </span>
  );
}

interface TurnProps {
  turn: Turn;
  name: string;
  writing: ReadonlySet<string>;
  nested: ReadonlyMap<string, string>;
  progress: string | undefined;
  decor: Decor | undefined;
}

function TurnView({ turn, name, writing, nested, progress, decor }: TurnProps) {
  const tokens = turn.parts.reduce((sum, { message }) => sum + (message.usage_metadata?.total_tokens ?? 0), 0);
  const given = turn.role === "ai" ? turn.parts[0]?.message.name : undefined;
  return (
    <section className={`turn ${turn.role === "human" ? "" : "ai"}`}>
      <div className="who">
        {turn.role === "ai" ? given || name : (NAMES[turn.role] ?? turn.role)}
        {tokens > 0 && <span className="faint num">{number(tokens)} tokens</span>}
        {progress !== undefined && <Progress words={progress} pending={false} />}
        {decor?.head(turn)}
      </div>
      {decor?.body(turn) ??
        turn.parts.map(({ message, calls }, index) => (
          <Fragment key={message.id ?? index}>
            {index > 0 && decor?.part(message)}
            <Part
              message={message}
              calls={calls}
              writing={message.id ? writing.has(message.id) : false}
              from={message.id ? nested.get(message.id) : undefined}
              running={progress !== undefined}
            />
          </Fragment>
        ))}
    </section>
  );
}

function Part({ message, calls, writing, from, running }: { message: Message; calls: Call[]; writing: boolean; from: string | undefined; running: boolean }) {
  const text = textOf(message.content);
  const content: ReactNode = (
    <>
      {(text || (writing && calls.length === 0)) && (
        <div className="text">
          <Rich text={text} />
          {writing && <span className="cursor" aria-hidden="true" />}
        </div>
      )}
      <Media content={message.content} />
      {calls.map((call) => (
        <CallView key={call.id} call={call} running={running} />
      ))}
    </>
  );
  if (roleOf(message) === "tool") {
    return (
      <details className="fold">
        <summary>
          <code>{message.name ?? "tool"}</code>
          <span className="muted cut">{text.slice(0, 120)}</span>
          <span className="space" />
        </summary>
        <div className="body">{content}</div>
      </details>
    );
  }
  if (from === undefined) return content;
  return (
    <details className="fold" open>
      <summary>
        <span className="state busy" />
        <code>{from}</code>
        <span className="space" />
      </summary>
      <div className="body">{content}</div>
    </details>
  );
}

function CallView({ call, running }: { call: Call; running: boolean }) {
  const { result } = call;
  const status = result === undefined ? (running ? "busy" : "pending") : result.status === "error" ? "error" : "idle";
  const args = typeof call.args === "string" ? parsed(call.args) : call.args;
  return (
    <details className="fold">
      <summary>
        <span className={`state ${status}`}>
          <span className="unseen">{status === "idle" ? "done" : status}</span>
        </span>
        <code>{call.name || "…"}</code>
        <span className="muted cut">{inShort(args)}</span>
        <span className="space" />
      </summary>
      <div className="body">
        <h4>Arguments</h4>
        <Json value={args} open={2} />
      </div>
      {result !== undefined && (
        <div className="body">
          <h4>Result</h4>
          <Result content={result.content} />
        </div>
      )}
    </details>
  );
}

function Result({ content }: { content: unknown }) {
  if (typeof content !== "string") return <Json value={content} open={2} />;
  const value = /^\s*[[{]/.test(content) ? parsed(content) : content;
  return typeof value === "string" ? <div className="text" style={{ fontSize: 13 }}>{value}</div> : <Json value={value} open={2} />;
}

/** Images and files of a message. Images of other servers are not loaded: only their address is shown. */
function Media({ content }: { content: unknown }) {
  if (!Array.isArray(content)) return null;
  return content.map((block: unknown, index) => {
    const { type, url, source } = mediaOf(block);
    if (type === undefined) return null;
    if (type === "image" && source !== undefined)
      return (
        <div className="text" key={index}>
          <img src={source} alt="" />
        </div>
      );
    return (
      <p key={index} style={{ marginTop: 6 }}>
        <span className="tag">{type}</span> <span className="mono muted">{url ?? fileNameOf(block)}</span>
      </p>
    );
  });
}

function mediaOf(block: unknown): { type?: string; url?: string; source?: string } {
  if (typeof block !== "object" || block === null) return {};
  const one = block as { type?: unknown; image_url?: unknown; url?: unknown; data?: unknown; base64?: unknown; mime_type?: unknown };
  if (typeof one.type !== "string" || !/image|file|audio|video/.test(one.type)) return {};
  const linked = typeof one.image_url === "object" && one.image_url !== null ? (one.image_url as { url?: unknown }).url : (one.image_url ?? one.url);
  const data = one.data ?? one.base64;
  const url = typeof linked === "string" ? linked : typeof data === "string" ? `data:${String(one.mime_type ?? "image/png")};base64,${data}` : "";
  const type = one.type.startsWith("image") ? "image" : one.type;
  return url.startsWith("data:") ? { type, source: url } : { type, url };
}

function fileNameOf(block: unknown): string {
  const { filename, metadata } = block as { filename?: unknown; metadata?: { filename?: unknown; name?: unknown } | null };
  const name = filename ?? metadata?.filename ?? metadata?.name;
  return typeof name === "string" ? name : "";
}

function inShort(args: unknown): string {
  if (typeof args !== "object" || args === null) return typeof args === "string" ? args : "";
  return Object.entries(args)
    .map(([key, value]) => `${key}: ${typeof value === "string" ? value : JSON.stringify(value)}`)
    .join(", ")
    .slice(0, 160);
}

function parsed(text: string): unknown {
  try {
    return JSON.parse(text) as unknown;
  } catch {
    return text;
  }
}

/** Keeps the end in view while it grows, unless the reader has scrolled up. */
function useFollowedEnd(messages: Message[], ...others: unknown[]) {
  const end = useRef<HTMLDivElement>(null);
  const atEnd = useRef(true);
  useEffect(() => {
    const box = end.current?.closest(".talk");
    if (!box) return;
    const note = () => {
      atEnd.current = box.scrollHeight - box.scrollTop - box.clientHeight < NEAR_END;
    };
    box.addEventListener("scroll", note, { passive: true });
    return () => box.removeEventListener("scroll", note);
  }, [messages.length > 0]);
  const size = textOf(messages.at(-1)?.content).length;
  useLayoutEffect(() => {
    if (atEnd.current) end.current?.scrollIntoView({ block: "end" });
  }, [messages.length, size, ...others]);
  return end;
}
