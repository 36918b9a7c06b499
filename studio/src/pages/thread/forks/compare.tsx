/** Two threads, or two checkpoints of one, side by side from their common checkpoint. */

import { useMemo, useState } from "react";
import { client } from "../../../api/client";
import { type Comparison, compareThreads } from "../../../api/extras";
import { useQuery } from "../../../api/query";
import { changesOf } from "../../../diff/values";
import { type ForkPicture, forkOf } from "../../../draw/fork";
import { type Message, messagesOf, roleOf } from "../../../live/messages";
import { number, shortId, textOf, titleOf } from "../../../parts/format";
import { useKeys } from "../../../parts/keys";
import { Bones, Empty, Failure } from "../../../parts/notices";
import { go, href } from "../../../routes";
import type { Forks } from "./actions";
import { Changes } from "./changes";
import type { Asking } from "./dialogs";

interface Props {
  forks: Forks;
  title: string;
  /** The other thread, null while none was chosen. */
  other: string | null;
  /** The checkpoints that are compared, null for the newest ones. */
  checkpoint: string | null;
  otherCheckpoint: string | null;
  onAsk: (asking: Asking) => void;
}

export default function ComparePage({ forks, title, other, checkpoint, otherCheckpoint, onAsk }: Props) {
  const key = other === null ? null : `compare ${forks.threadId} ${checkpoint ?? forks.head} ${other} ${otherCheckpoint}`;
  const { data, error, reload } = useQuery(key, () =>
    compareThreads(forks.threadId, other ?? "", { state: true, ...(checkpoint ? { aCheckpoint: checkpoint } : {}), ...(otherCheckpoint ? { bCheckpoint: otherCheckpoint } : {}) }),
  );
  const another = useQuery(other === null || other === forks.threadId ? null : `thread ${other}`, () => client.threads.get(other ?? "")).data;
  const swap = () => other !== null && go(href(["threads", other], { view: "compare", vs: forks.threadId, cp: otherCheckpoint, vcp: checkpoint }));
  useKeys([{ key: "x", label: "Swap the sides", run: swap }]);

  if (other === null) {
    return (
      <Empty icon="copies" title="Compare with what?" action={<button type="button" className="btn main" onClick={() => onAsk({ what: "compare", checkpoint })}>Choose a thread</button>}>
        Two threads are shown side by side, from the last checkpoint that both have: their messages, and what differs in their states.
      </Empty>
    );
  }
  if (data === undefined) return error === undefined ? <Bones /> : <Failure error={error} what="The threads cannot be compared" retry={reload} />;
  const otherTitle = other === forks.threadId ? title : titleOf(another?.metadata, messagesOf(another?.values)[0]?.content) || shortId(other);
  const picture = forkOf(data.a.ahead, data.b.ahead, data.common !== null);
  return (
    <div className="compare">
      <div className="bar compared">
        <Picture picture={picture} of={data} />
        <span className="muted">{inWords(data)}</span>
        <span className="space" />
        <button type="button" className="btn" onClick={swap}>
          Swap <kbd className="hide">x</kbd>
        </button>
        <button type="button" className="btn" onClick={() => onAsk({ what: "compare", checkpoint })}>
          Other…
        </button>
      </div>
      <div className="cmp">
        <Side name={title} head={data.a.head} ahead={data.a.ahead} id={forks.threadId} newest={checkpoint === null} />
        <Side name={otherTitle} head={data.b.head} ahead={data.b.ahead} id={other} newest={otherCheckpoint === null} />
        <Messages of={data} />
        <State of={data} />
      </div>
    </div>
  );
}

function Side({ name, head, ahead, id, newest }: { name: string; head: string | null; ahead: number; id: string; newest: boolean }) {
  return (
    <div className="side">
      <a href={href(["threads", id], { cp: newest ? null : head })}>
        <b className="cut">{name}</b>
      </a>{" "}
      <span className="faint num">
        {newest ? "newest state" : "checkpoint"} <span className="mono">{head === null ? "" : shortId(head)}</span> · +{number(ahead)}
      </span>
    </div>
  );
}

function inWords({ a, b, common, equal }: Comparison): string {
  if (equal) return "Both are the same";
  if (common === null) return "They have no checkpoint in common";
  if (a.ahead === 0 || b.ahead === 0) return a.ahead === b.ahead ? "Both are at the same checkpoint" : `The ${a.ahead === 0 ? "right" : "left"} one goes on where the ${a.ahead === 0 ? "left" : "right"} one ends`;
  return `Both have ${shortId(common.checkpoint_id)}, then each goes on alone`;
}

function Picture({ picture, of }: { picture: ForkPicture; of: Comparison }) {
  const words = of.common === null ? `Nothing in common, ${of.a.ahead} and ${of.b.ahead} checkpoints` : `${of.a.ahead} checkpoints only left, ${of.b.ahead} only right`;
  return (
    <svg className="pic fork" viewBox={`0 0 ${picture.width} ${picture.height}`} width={picture.width} height={picture.height} role="img" aria-label={words}>
      {picture.paths.map(({ side, d }) => (
        <path key={side} className={`edge ${side}`} d={d} />
      ))}
      {picture.gaps.map(({ x, y, count }) => (
        <g key={y}>
          <rect className="gap" x={x - 12} y={y - 8} width={24} height={16} />
          <text className="t2" x={x} y={y + 4} textAnchor="middle">
            {count > 999 ? "…" : `+${count}`}
          </text>
        </g>
      ))}
      {picture.dots.map(({ x, y, side }) => (
        <circle key={`${x} ${y}`} className={`dot ${side}`} cx={x} cy={y} r={4.5} />
      ))}
    </svg>
  );
}

interface Pair {
  id: string;
  change: string;
  a: Message | undefined;
  b: Message | undefined;
}

function Messages({ of }: { of: Comparison }) {
  const pairs = (of.messages ?? []) as Pair[];
  const groups = useMemo(() => groupsOf(pairs), [of]);
  if (pairs.length === 0) return null;
  return groups.map((group, index) => (group.same ? <Folded key={index} pairs={group.pairs} /> : group.pairs.map((pair, at) => <Both key={`${index} ${at}`} pair={pair} />)));
}

/** Runs of messages that are the same, and others. */
function groupsOf(pairs: Pair[]): { same: boolean; pairs: Pair[] }[] {
  const groups: { same: boolean; pairs: Pair[] }[] = [];
  for (const pair of pairs) {
    const same = pair.change === "same";
    const last = groups.at(-1);
    if (last?.same === same) last.pairs.push(pair);
    else groups.push({ same, pairs: [pair] });
  }
  return groups.map((group) => (group.same ? group : { same: false, pairs: sideBySide(group.pairs) }));
}

/** What only one side has is set beside what only the other has, in their order. */
function sideBySide(pairs: Pair[]): Pair[] {
  const left = pairs.filter((pair) => pair.change === "removed");
  const right = pairs.filter((pair) => pair.change === "added");
  const rows: Pair[] = pairs.filter((pair) => pair.change === "changed");
  for (let index = 0; index < Math.max(left.length, right.length); index++) {
    rows.push({ id: left[index]?.id ?? right[index]?.id ?? "", change: "other", a: left[index]?.a, b: right[index]?.b });
  }
  return rows;
}

const SHOWN_SAME = 2;

function Folded({ pairs }: { pairs: Pair[] }) {
  const [open, setOpen] = useState(pairs.length <= SHOWN_SAME);
  return (
    <>
      {!open && (
        <button type="button" className="whole" onClick={() => setOpen(true)}>
          {number(pairs.length)} messages the same ▸
        </button>
      )}
      {open && pairs.map((pair, index) => <Both key={index} pair={{ ...pair, b: pair.b ?? pair.a, a: pair.a ?? pair.b }} />)}
    </>
  );
}

function Both({ pair }: { pair: Pair }) {
  const differs = pair.change !== "same";
  return (
    <>
      <Said message={pair.a} mark={differs ? "del" : ""} />
      <Said message={pair.b} mark={differs ? "add" : ""} />
    </>
  );
}

const NAMES: Record<string, string> = { human: "You", ai: "Assistant", system: "System", tool: "Tool" };

function Said({ message, mark }: { message: Message | undefined; mark: string }) {
  if (message === undefined) return <div className="none" aria-label="Nothing on this side" />;
  const calls = message.tool_calls ?? [];
  return (
    <div className={mark}>
      <div className="who-said">{message.name || NAMES[roleOf(message)] || roleOf(message)}</div>
      <div className="said">{textOf(message.content)}</div>
      {calls.map((call, index) => (
        <code key={call.id ?? index} className="call">
          {call.name}({JSON.stringify(call.args)})
        </code>
      ))}
    </div>
  );
}

function State({ of }: { of: Comparison }) {
  const channels = Object.entries(of.channels ?? {}).filter(([name]) => name !== "messages");
  const differing = channels.filter(([, { change }]) => change !== "same");
  const equal = channels.length - differing.length;
  const changes = useMemo(() => differing.flatMap(([name, { a, b, change }]) => changesOf(change === "added" ? undefined : a, change === "removed" ? undefined : b, name)), [of]);
  if (channels.length === 0) return null;
  return (
    <>
      <div className="whole">State</div>
      {changes.length > 0 && (
        <div className="wide">
          <Changes changes={changes} />
        </div>
      )}
      {equal > 0 && <div className="whole">{equal === 1 ? "1 channel the same" : `${number(equal)} channels the same`}</div>}
      {of.equal && equal === 0 && <div className="whole">No difference</div>}
    </>
  );
}
