/** How much a thread stores; asked for while its row rests in view. */

import { useEffect, useState } from "react";
import { getStorage } from "../api/extras";
import { useQuery } from "../api/query";
import { size } from "./format";

const RESTS_MS = 200;

export function ThreadSize({ id, updated }: { id: string; updated: string }) {
  const [rests, setRests] = useState(false);
  useEffect(() => {
    const timer = setTimeout(() => setRests(true), RESTS_MS);
    return () => clearTimeout(timer);
  }, []);
  const bytes = useQuery(rests ? `storage ${id} ${updated}` : null, () => getStorage(id)).data?.total_bytes;
  return (
    <span role="gridcell" className="muted num right hide">
      {bytes === undefined ? "" : size(bytes)}
    </span>
  );
}
