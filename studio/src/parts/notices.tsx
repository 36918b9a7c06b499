/** What a page shows while it has nothing to show: nothing there, a failure, an answer on its way. */

import type { ReactNode } from "react";
import { messageOf, statusOf } from "../api/client";
import { Icon, type IconName } from "./icons";

export function Empty({ icon, title, children, action }: { icon: IconName; title: string; children?: ReactNode; action?: ReactNode }) {
  return (
    <div className="empty">
      <Icon name={icon} />
      <h2>{title}</h2>
      {children !== undefined && <p>{children}</p>}
      {action !== undefined && <div className="acts">{action}</div>}
    </div>
  );
}

/** A request that failed, with the server's own words. */
export function Failure({ error, what, retry }: { error: unknown; what: string; retry?: () => void }) {
  const status = statusOf(error);
  return (
    <div role="alert">
      <Empty
        icon={status === 401 || status === 403 ? "lock" : "error"}
        title={what}
        action={
          retry && (
            <button type="button" className="btn" onClick={retry}>
              Try again
            </button>
          )
        }
      >
        {messageOf(error)}
      </Empty>
    </div>
  );
}

/** Grey bars in the place of rows. */
export function Bones({ rows = 8 }: { rows?: number }) {
  return (
    <div role="status" aria-label="Loading">
      {Array.from({ length: rows }, (_, row) => (
        <div key={row} className="line" style={{ display: "flex" }}>
          <span className="bone" style={{ width: 72 }} />
          <span className="bone" style={{ width: `${[38, 52, 30, 44][row % 4]}%` }} />
        </div>
      ))}
    </div>
  );
}
