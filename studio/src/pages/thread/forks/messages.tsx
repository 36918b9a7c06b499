/** What belongs to the messages of a conversation: actions, pagers between siblings, an edit in place, and where copies left. */

import type { ThreadState } from "@langchain/langgraph-sdk";
import { type KeyboardEvent, type ReactNode, useMemo, useState } from "react";
import type { ForkedFrom, Turn as MapTurn } from "../../../api/extras";
import { type Message, type Turn, messagesOf } from "../../../live/messages";
import { originOf, placesOf, tipOf } from "../../../live/map";
import { number, shortId, textOf } from "../../../parts/format";
import { Icon } from "../../../parts/icons";
import { Menu } from "../../../parts/menu";
import { go, href, withQuery } from "../../../routes";
import type { Forks } from "./actions";
import type { Asking } from "./dialogs";

/** What a page adds to a conversation. */
export interface Decor {
  /** Beside the name of who speaks. */
  head: (turn: Turn) => ReactNode;
  /** Above a message that is not the first of its turn. */
  part: (message: Message) => ReactNode;
  /** Instead of the turn's messages. */
  body: (turn: Turn) => ReactNode | undefined;
  /** Below a turn; null: above the first one. */
  after: (turn: Turn | null) => ReactNode;
}

interface Props {
  forks: Forks;
  /** The state whose messages are shown. */
  shown: ThreadState | undefined;
  /** Its checkpoint, null for the newest. */
  checkpoint: string | null;
  forkedFrom: ForkedFrom | undefined;
  onAsk: (asking: Asking) => void;
}

const COPIES = 5;

export function useDecor({ forks, shown, checkpoint, forkedFrom, onAsk }: Props): Decor | undefined {
  const [editing, edit] = useState<string | undefined>(undefined);
  const { map } = forks;
  const messages = useMemo(() => messagesOf(shown?.values), [shown]);
  const places = useMemo(() => (map === undefined ? new Map<string, number>() : placesOf(map.turns, messages, checkpoint)), [map, messages, checkpoint]);
  const order = useMemo(() => new Map(messages.map((message, index) => [message.id, index])), [messages]);
  if (map === undefined) return undefined;
  const inOrder = [...places.values()];
  const origin = forkedFrom === undefined ? undefined : inOrder[0] === undefined ? undefined : originOf(map, inOrder, forkedFrom.checkpoint_id);
  const entry = (message: Message | undefined): MapTurn | undefined => (message?.id ? map.turns[places.get(message.id) ?? -1] : undefined);
  /** The checkpoint that a turn ends with: the one that the next input was given to, or the one that is shown. */
  const end = (turn: Turn): string | null | undefined => {
    const last = Math.max(-1, ...idsIn(turn).map((id) => order.get(id) ?? -1));
    if (last < 0) return undefined;
    const next = messages[last + 1];
    return next === undefined ? checkpoint : (entry(next)?.before ?? undefined);
  };

  return {
    head: (turn) => {
      const message = turn.parts[0]?.message;
      const at = entry(message);
      if (at === undefined || message === undefined) return null;
      return (
        <>
          <Pager turns={map.turns} place={places.get(message.id ?? "") ?? -1} />
          <Acts turn={turn} message={message} at={at} end={end(turn)} forks={forks} onEdit={() => edit(turn.key)} onAsk={onAsk} />
        </>
      );
    },
    part: (message) => <Pager turns={map.turns} place={places.get(message.id ?? "") ?? -1} />,
    body: (turn) => {
      const message = turn.parts[0]?.message;
      const at = entry(message);
      if (turn.key !== editing || message === undefined || at?.before == null) return undefined;
      return <EditMessage message={message} before={at.before} forks={forks} onClose={() => edit(undefined)} />;
    },
    after: (turn) => {
      const own = turn === null ? [] : idsIn(turn).flatMap((id) => places.get(id) ?? []);
      const copies = turn === null ? map.copies : own.flatMap((place) => map.turns[place]?.copies ?? []);
      const came = origin !== undefined && forkedFrom !== undefined && (turn === null ? origin === -1 : own.includes(origin));
      if (copies.length === 0 && !came) return null;
      return (
        <div className="marks">
          {came && (
            <a className="mark" href={href(["threads", forkedFrom.thread_id], { cp: forkedFrom.checkpoint_id })}>
              <Icon name="copies" small /> Copied from {shortId(forkedFrom.thread_id)} here
            </a>
          )}
          {copies.length > 0 && (
            <span className="mark">
              <Icon name="copies" small /> {copies.length === 1 ? "A copy" : `${number(copies.length)} copies`} left here:
              {copies.slice(-COPIES).map((id) => (
                <a key={id} href={href(["threads", id])} className="mono">
                  {shortId(id)}
                </a>
              ))}
              {copies.length > COPIES && <a href={withQuery({ view: "lineage" })}>all</a>}
            </span>
          )}
        </div>
      );
    },
  };
}

/** `‹ 2/3 ›` between the alternatives of a message. */
function Pager({ turns, place }: { turns: readonly MapTurn[]; place: number }) {
  const siblings = turns[place]?.siblings ?? [];
  const at = siblings.indexOf(place);
  if (siblings.length < 2 || at < 0) return null;
  const step = (by: number) => {
    const target = siblings[at + by];
    if (target !== undefined) go(withQuery({ cp: tipOf(turns, target) }), true);
  };
  return (
    <span className="pager num" role="group" aria-label="Alternatives">
      <button type="button" aria-label="Alternative before" disabled={at === 0} onClick={() => step(-1)}>
        ‹
      </button>
      {at + 1}/{siblings.length}
      <button type="button" aria-label="Next alternative" disabled={at === siblings.length - 1} onClick={() => step(1)}>
        ›
      </button>
    </span>
  );
}

interface ActsProps {
  turn: Turn;
  message: Message;
  at: MapTurn;
  /** The checkpoint with the whole turn; null for the newest, undefined if it is not known. */
  end: string | null | undefined;
  forks: Forks;
  onEdit: () => void;
  onAsk: (asking: Asking) => void;
}

function Acts({ turn, message, at, end, forks, onEdit, onAsk }: ActsProps) {
  const { features, running } = forks;
  const human = turn.role === "human";
  const busy = running ? "A run is under way" : undefined;
  const canEdit = human && at.before !== null && typeof message.id === "string";
  // A message is answered again from the checkpoint that has it; an answer is made again from where its step began.
  const again = human ? at.after : at.before;
  // A copy ends before a human message, so that another one can be sent, and behind an answer.
  const cut = human ? at.before : end;
  // Of an answer with tool calls the whole turn counts.
  const own = human || end === undefined ? at.after : end;
  const actions = [
    ...(canEdit ? [{ label: "Edit and fork", run: onEdit, disabled: busy }] : []),
    ...(again === null ? [] : [{ label: "Re-run from here", run: () => forks.again(again), disabled: busy }]),
    ...(features.copyOptions && cut !== undefined ? [{ label: human ? "Copy up to here" : "Copy here", run: () => forks.copy(cut === null ? {} : { checkpoint_id: cut }) }] : []),
    { label: "Show its checkpoint", run: () => go(withQuery({ view: "timeline", cp: own ?? forks.head }), true) },
    ...(features.tags ? [{ label: "Tag", run: () => onAsk({ what: "tag", checkpoint: own }) }] : []),
    ...(features.compare ? [{ label: "Compare with…", run: () => onAsk({ what: "compare", checkpoint: own }) }] : []),
    ...(features.reset && cut != null ? [{ label: human ? "Reset to before this" : "Reset to here", run: () => forks.reset(cut), disabled: busy }] : []),
  ];
  return (
    <span className="acts">
      {canEdit && (
        <button type="button" className="btn quiet hide quick" onClick={onEdit} disabled={running}>
          Edit
        </button>
      )}
      {again !== null && (
        <button type="button" className="btn quiet hide quick" onClick={() => forks.again(again)} disabled={running}>
          Re-run
        </button>
      )}
      <Menu label="More for this message" actions={actions}>
        ⋯
      </Menu>
    </span>
  );
}

/** A human message with its text in the box. What is sent takes its place on a fork. */
function EditMessage({ message, before, forks, onClose }: { message: Message; before: string; forks: Forks; onClose: () => void }) {
  const [text, write] = useState(textOf(message.content));
  const [sending, setSending] = useState(false);
  const others = Array.isArray(message.content) ? (message.content as { type?: unknown }[]).filter((block) => typeof block === "object" && block.type !== "text") : [];
  const send = async () => {
    if (sending || text.trim() === "") return;
    setSending(true);
    const content = others.length > 0 ? [{ type: "text", text }, ...others] : text;
    try {
      await forks.runFrom(before, { input: { messages: [{ role: "user", content }] } });
      onClose();
    } catch {
      setSending(false); // the page shows why
    }
  };
  const press = (event: KeyboardEvent) => {
    if (event.key === "Escape") onClose();
    else if (event.key === "Enter" && !event.shiftKey && !event.nativeEvent.isComposing) void send();
    else return;
    event.preventDefault();
    event.stopPropagation();
  };
  return (
    <form
      className="edit"
      onSubmit={(event) => {
        event.preventDefault();
        void send();
      }}
    >
      <textarea aria-label="Edited message" value={text} rows={2} autoFocus onChange={(event) => write(event.target.value)} onKeyDown={press} />
      {others.length > 0 && <p className="faint">Its {others.length === 1 ? "attachment goes" : `${others.length} attachments go`} with it.</p>}
      <div className="row">
        <span className="faint">{forks.byCopy ? "Makes a copy of the thread, with this message instead" : "Makes a branch of this thread; the other stays"}</span>
        <span className="space" />
        <button type="button" className="btn" onClick={onClose}>
          Cancel
        </button>
        <button type="submit" className="btn main" disabled={sending || text.trim() === ""}>
          Fork and send <kbd className="hide">↵</kbd>
        </button>
      </div>
    </form>
  );
}

/** The ids of a turn's messages, results of its tool calls included. */
function idsIn(turn: Turn): string[] {
  return turn.parts.flatMap(({ message, calls }) => [message.id, ...calls.map((call) => call.result?.id)]).filter((id): id is string => typeof id === "string");
}
