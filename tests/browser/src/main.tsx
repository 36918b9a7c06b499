/** A chat with a list of threads. `?client=react|sdk` picks the package, `?thread=` the thread. */

import type { Thread } from "@langchain/langgraph-sdk";
import { type FormEvent, StrictMode, useEffect, useState } from "react";
import { createRoot } from "react-dom/client";
import { type Chat, type ChatMessage, type State, textOf } from "./chat";
import { client } from "./server";
import { useReactChat } from "./react-chat";
import { useSdkChat } from "./sdk-chat";
import "./page.css";

const useChat = new URLSearchParams(window.location.search).get("client") === "sdk" ? useSdkChat : useReactChat;

function threadOfPage(): string | null {
  return new URLSearchParams(window.location.search).get("thread");
}

function Page() {
  const [threadId, setThreadId] = useState(threadOfPage);
  const open = (id: string | null) => {
    const url = new URL(window.location.href);
    if (id === null) url.searchParams.delete("thread");
    else url.searchParams.set("thread", id);
    window.history.replaceState(null, "", url);
    setThreadId(id);
  };
  const chat = useChat({ threadId, onThreadId: open });
  return (
    <>
      <Threads current={threadId} busy={chat.isLoading} open={open} />
      <main>
        <ol>
          {chat.messages.map((message) => (
            <Message key={message.id} message={message} chat={chat} />
          ))}
        </ol>
        {chat.question !== undefined && (
          <section role="alert">
            <p>{JSON.stringify(chat.question)}</p>
            <button onClick={() => chat.answer("yes")}>Approve</button>
          </section>
        )}
        {chat.error != null && <p role="status">{String(chat.error)}</p>}
        <Composer chat={chat} />
      </main>
    </>
  );
}

function Message({ message, chat }: { message: ChatMessage; chat: Chat }) {
  const [draft, setDraft] = useState<string | null>(null);
  const checkpointBefore = chat.useCheckpointBefore(message.id);
  const versions = chat.versions(message.id);
  const fork = async (text: string | null) => {
    setDraft(null);
    chat.fork(await checkpointBefore(), text);
  };
  return (
    <li data-type={message.type} data-id={message.id}>
      {draft === null ? <p>{message.text}</p> : <input value={draft} onChange={(event) => setDraft(event.target.value)} />}
      {message.type === "human" ? (
        draft === null ? (
          <button onClick={() => setDraft(message.text)}>Edit</button>
        ) : (
          <button onClick={() => void fork(draft)}>Save</button>
        )
      ) : (
        <button onClick={() => void fork(null)}>Regenerate</button>
      )}
      {versions && (
        <nav>
          <button onClick={() => versions.show(versions.index - 1)}>‹</button>
          <span>{`${versions.index + 1}/${versions.count}`}</span>
          <button onClick={() => versions.show(versions.index + 1)}>›</button>
        </nav>
      )}
    </li>
  );
}

function Composer({ chat }: { chat: Chat }) {
  const [text, setText] = useState("");
  const send = (event: FormEvent) => {
    event.preventDefault();
    chat.send(text);
    setText("");
  };
  return (
    <form onSubmit={send}>
      <input aria-label="Message" value={text} onChange={(event) => setText(event.target.value)} />
      <button>Send</button>
      {chat.isLoading && (
        <button type="button" onClick={chat.stop}>
          Stop
        </button>
      )}
    </form>
  );
}

/** The threads, newest first. Read anew when a run begins or ends, and after a copy. */
function Threads({ current, busy, open }: { current: string | null; busy: boolean; open: (id: string | null) => void }) {
  const [threads, setThreads] = useState<Thread<State>[]>([]);
  useEffect(() => {
    void client.threads.search<State>({ limit: 100 }).then(setThreads);
  }, [current, busy]);
  return (
    <aside>
      <button onClick={() => open(null)}>New</button>
      {current !== null && (
        <button
          onClick={() => {
            // The SDK's types say that nothing comes back; the answer is the new thread.
            void (client.threads.copy(current) as Promise<unknown>).then((copy) => open((copy as Thread).thread_id));
          }}
        >
          Copy
        </button>
      )}
      <ul>
        {threads.map((thread) => (
          <li key={thread.thread_id} data-thread={thread.thread_id} aria-current={thread.thread_id === current}>
            <button onClick={() => open(thread.thread_id)}>{title(thread)}</button> <small>{thread.status}</small>
          </li>
        ))}
      </ul>
    </aside>
  );
}

function title(thread: Thread<State>): string {
  const first = (thread.values as State | null)?.messages?.[0];
  return first === undefined ? "…" : textOf(first.content);
}

const root = document.getElementById("root");
if (root !== null) {
  createRoot(root).render(
    <StrictMode>
      <Page />
    </StrictMode>,
  );
}
