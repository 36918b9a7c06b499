/** The server: its version, its features, where to read on. */

import type { ReactNode } from "react";
import { serverUrl } from "../api/client";
import { useInfo } from "../api/extras";
import { Json } from "../parts/json";
import { Bones, Failure } from "../parts/notices";
import { Top } from "../parts/top";

export function ServerPage() {
  const info = useInfo();
  let content: ReactNode;
  if (info.data !== undefined) {
    const { version, langgraph_py_version, flags, ...others } = info.data;
    content = (
      <div style={{ maxWidth: 720 }}>
        <div className="kv">
          <div>Address</div>
          <div className="mono">{serverUrl}</div>
          <div>Version</div>
          <div className="num">{version}</div>
          <div>LangGraph</div>
          <div className="num">{langgraph_py_version ?? "unknown"}</div>
          <div>Read on</div>
          <div>
            <a className="btn" href={`${serverUrl}/docs`}>
              Interface
            </a>{" "}
            <a className="btn" href={`${serverUrl}/metrics`}>
              Figures
            </a>
          </div>
        </div>
        <div className="pane" style={{ border: 0 }}>
          <header>Features and build</header>
          <div className="inside">
            <Json value={{ flags, ...others }} open={2} />
          </div>
        </div>
      </div>
    );
  } else if (info.error !== undefined) content = <Failure error={info.error} what="The server tells nothing of itself" retry={info.reload} />;
  else content = <Bones rows={4} />;
  return (
    <>
      <Top title="Server" />
      <main className="page">{content}</main>
    </>
  );
}
