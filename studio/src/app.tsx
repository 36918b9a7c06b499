/** The frame: the rail, the page of the current address, sign-in, and the list of keys. */

import { Component, type ReactNode, useState } from "react";
import { client, useConnection } from "./api/client";
import { type Features, useFeatures, useInfo } from "./api/extras";
import { useQuery } from "./api/query";
import { AssistantsPage } from "./pages/assistants";
import { CronsPage } from "./pages/crons";
import { InboxPage } from "./pages/inbox/index";
import { RunsPage } from "./pages/runs";
import { ServerPage } from "./pages/server";
import { SignIn } from "./pages/sign-in";
import { StorePage } from "./pages/store";
import { ThreadPage } from "./pages/thread/index";
import { ThreadsPage } from "./pages/threads";
import { Dialog } from "./parts/dialog";
import { Icon, type IconName } from "./parts/icons";
import { type Key, useKeys, useListedKeys } from "./parts/keys";
import { Empty } from "./parts/notices";
import { ReloadBanner } from "./parts/reload-banner";
import { nextTheme, themeNow } from "./parts/theme";
import { Top } from "./parts/top";
import { type Route, go, href, useRoute } from "./routes";

interface Place {
  name: string;
  icon: IconName;
  /** The first part of the address. */
  at: string;
  /** Shows the page of an address that begins with `at`. */
  page: (route: Route) => ReactNode;
  /** Whether the server has it; without this, each server has. */
  announced?: (features: Features, flags: Record<string, unknown>) => boolean;
}

/** The places of the rail, in its order. A new page is one more entry here. */
const PLACES: Place[] = [
  {
    name: "Threads",
    icon: "threads",
    at: "threads",
    page: ({ path: [, id] }) => (id === undefined ? <ThreadsPage /> : <ThreadPage key={id} threadId={id === "new" ? null : id} />),
  },
  { name: "Inbox", icon: "inbox", at: "inbox", page: ({ path: [, id] }) => <InboxPage threadId={id} /> },
  { name: "Runs", icon: "runs", at: "runs", page: () => <RunsPage />, announced: ({ queue }) => queue },
  {
    name: "Assistants",
    icon: "graphs",
    at: "assistants",
    page: ({ path: [, id] }) => <AssistantsPage assistantId={id} />,
    announced: (_, { assistants }) => assistants !== false,
  },
  { name: "Store", icon: "store", at: "store", page: () => <StorePage />, announced: (_, { store }) => store !== false },
  { name: "Crons", icon: "crons", at: "crons", page: () => <CronsPage />, announced: (_, { crons }) => crons !== false },
  { name: "Server", icon: "server", at: "server", page: () => <ServerPage /> },
];

/** The places that the server has. */
function usePlaces(): Place[] {
  const features = useFeatures();
  const flags = useInfo().data?.flags ?? {};
  return PLACES.filter(({ announced }) => announced?.(features, flags) ?? true);
}

export function App() {
  const route = useRoute();
  const [help, setHelp] = useState(false);
  const connection = useConnection();
  const at = route.path[0] ?? "threads";
  const place = PLACES.find((one) => one.at === at);
  const keys: Key[] = [{ key: "?", label: "Show the keys", run: () => setHelp(true) }];
  const places = usePlaces();
  places.slice(0, 9).forEach((one, index) =>
    keys.push({ key: String(index + 1), label: `Go to ${one.name}`, run: () => go(href([one.at])) }),
  );
  useKeys(keys);

  return (
    <div className="app">
      <Rail places={places} at={at} onHelp={() => setHelp(true)} />
      <ReloadBanner />
      {connection === "denied" ? (
        <SignIn />
      ) : (
        <Guarded key={at}>
          {place?.page(route) ?? (
            <>
              <Top title="Not found" />
              <main className="page">
                <Empty icon="search" title="There is no such page" action={<a className="btn" href={href(["threads"])}>Threads</a>} />
              </main>
            </>
          )}
        </Guarded>
      )}
      {help && <Help onClose={() => setHelp(false)} />}
    </div>
  );
}

function Rail({ places, at, onHelp }: { places: Place[]; at: string; onHelp: () => void }) {
  const [theme, setTheme] = useState(themeNow);
  const waiting = useQuery("count waiting", () => client.threads.count({ status: "interrupted" }), 15_000).data ?? 0;
  return (
    <nav className="rail" aria-label="Pages">
      {places.map((place) => (
        <a key={place.at} href={href([place.at])} className={place.at === at ? "on" : ""} aria-current={place.at === at ? "page" : undefined}>
          <Icon name={place.icon} />
          {place.name}
          {place.at === "inbox" && waiting > 0 && (
            <span className="count num" title="Threads that wait for an answer">
              {waiting > 99 ? "99+" : waiting}
            </span>
          )}
        </a>
      ))}
      <span className="space" />
      <button type="button" className="wide" onClick={onHelp}>
        <Icon name="keys" />
        Keys
      </button>
      <button type="button" onClick={() => setTheme(nextTheme())} title="Light, dark, or as the system says">
        <Icon name={theme} />
        {theme === "auto" ? "Auto" : theme === "light" ? "Light" : "Dark"}
      </button>
    </nav>
  );
}

function Help({ onClose }: { onClose: () => void }) {
  const keys = useListedKeys();
  return (
    <Dialog title="Keys" onClose={onClose}>
      <dl>
        {keys.map(({ key, label }) => (
          <div key={`${key} ${label}`} style={{ display: "contents" }}>
            <dt>
              <kbd>{key === "Escape" ? "esc" : key === "Enter" ? "↵" : key}</kbd>
            </dt>
            <dd>{label}</dd>
          </div>
        ))}
      </dl>
      <div className="acts">
        <button type="button" className="btn" onClick={onClose} data-first="">
          Close
        </button>
      </div>
    </Dialog>
  );
}

/** Keeps the frame when a page cannot be shown. */
class Guarded extends Component<{ children: ReactNode }, { error: unknown }> {
  override state = { error: undefined as unknown };

  static getDerivedStateFromError(error: unknown) {
    return { error };
  }

  override render() {
    if (this.state.error === undefined) return this.props.children;
    return (
      <>
        <Top title="Error" />
        <main className="page">
          <Empty icon="error" title="This page cannot be shown" action={<button type="button" className="btn" onClick={() => location.reload()}>Reload</button>}>
            {String(this.state.error)}
          </Empty>
        </main>
      </>
    );
  }
}
