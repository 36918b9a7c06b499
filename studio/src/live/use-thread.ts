import { useEffect, useReducer, useRef } from "react";
import { type Followed, Follower } from "./follow";

const NOTHING: Followed = { thread: undefined, state: undefined, run: undefined, queued: 0, error: undefined };

/** Follows a thread while the component is shown. Null: a thread that is yet to be made. */
export function useThread(threadId: string | null): Followed & { follower: Follower | null } {
  const [, changed] = useReducer((count: number) => count + 1, 0);
  const follower = useRef<Follower | null>(null);
  useEffect(() => {
    if (threadId === null) return;
    const made = new Follower(threadId, changed);
    follower.current = made;
    made.start();
    return () => made.end();
  }, [threadId]);
  return { ...(follower.current?.current ?? NOTHING), follower: follower.current };
}
