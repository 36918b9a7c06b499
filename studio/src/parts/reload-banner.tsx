/** Tells on every page that the app's code was changed and cannot be loaded, with the traceback. */

import { type Info, useInfo } from "../api/extras";
import { request } from "../api/client";
import { useQuery } from "../api/query";

const POLL_MS = 3_000;

export function ReloadBanner() {
  const watched = useInfo().data?.reload !== undefined;
  const info = useQuery<Info>(watched ? "info" : null, () => request("GET", "/info"), POLL_MS).data;
  const error = info?.reload?.["error"];
  if (typeof error !== "string" || error === "") return null;
  const lines = error.trim().split("\n");
  return (
    <div className="told" role="alert">
      <details>
        <summary>
          <b>The changed code does not load.</b> <span className="cut">{lines.at(-1)}</span>
        </summary>
        <p>The server goes on with the code that it loaded last. It tries again when a file changes.</p>
        <pre className="code">{error}</pre>
      </details>
    </div>
  );
}
