-- name: insert
-- A new run, at the end of the queue. It is its thread's next when none runs or waits there. Gives its number.
INSERT INTO runs ({new_run}, task_id, temporary, delayed_at, ready)
VALUES ({new_run_values}, :task_id, :temporary, :delayed_at, CASE WHEN :status = 'pending' AND :delayed_at::bigint IS NULL
    AND NOT EXISTS (SELECT 1 FROM runs WHERE thread_id || '' = :thread_id AND status = 'running')
    AND (SELECT seq FROM runs WHERE thread_id = :thread_id AND status = 'pending' AND delayed_at IS NULL
         ORDER BY seq + 0 LIMIT 1) IS NULL THEN 0 END)
RETURNING seq;

-- name: insert_claimed
-- A new run in a worker's hands. Gives its number and its fence.
INSERT INTO runs ({new_run}, task_id, temporary, worker, fence)
VALUES ({new_run_values}, :task_id, :temporary, :worker, nextval('fences'))
RETURNING seq, fence;

-- name: get
-- One run by id.
SELECT {run} FROM runs WHERE run_id = $1;

-- name: thread_of
-- The thread of a run.
SELECT thread_id FROM runs WHERE run_id = $1;

-- name: of_thread
-- The runs of a thread, newest first, of one status or of all.
SELECT {run} FROM runs WHERE thread_id = $1 AND ($2::text IS NULL OR status = $2) ORDER BY seq DESC LIMIT $3 OFFSET $4;

-- name: running_of_thread
-- The run of a thread that is executed, found without those that wait.
SELECT {run} FROM runs WHERE thread_id || '' = $1 AND status = 'running' AND status = $2 LIMIT $3 OFFSET $4;

-- name: active_of_thread
-- Runs of a thread that are still to end, oldest first.
SELECT {run} FROM runs WHERE thread_id = $1 AND seq > $2 AND status IN ('pending', 'running') ORDER BY seq LIMIT $3;

-- name: has_active
-- Whether a run of a thread is still to end.
SELECT EXISTS (SELECT 1 FROM runs WHERE thread_id = $1 AND status IN ('pending', 'running'));

-- name: busy_threads
-- The threads with runs that are still to end, the one whose first run was made first at the beginning.
SELECT thread_id FROM runs WHERE status IN ('pending', 'running') GROUP BY thread_id ORDER BY min(seq);

-- name: lock_user
-- Whatever rests on how many runs a user has happens one after the other.
SELECT pg_advisory_xact_lock(tl_key('user ' || $1));

-- name: count_active_of_user
-- How many runs of a user are still to end, those of one thread left out.
SELECT count(*) FROM runs WHERE status IN ('pending', 'running') AND user_id = $1 AND thread_id <> $2;

-- name: claim
-- Makes due pending runs running, each of a thread that has none running and that nobody is changing.
SELECT {run} FROM tl_claim($1, $2, $3, $4, $5, $6);

-- name: peek
-- Whether `claim` finds anything to do, and when the next run is due that waits for its time.
SELECT
    EXISTS (SELECT 1 FROM runs WHERE ready <= $1) OR EXISTS (SELECT 1 FROM runs WHERE delayed_at IS NOT NULL AND due <= $1),
    (SELECT min(due) FROM runs WHERE delayed_at IS NOT NULL AND due > $1);

-- name: recompute_delays
-- The delays that were reckoned from moments that are yet to come begin again; those of runs that somebody is changing are left
-- to the next look. Gives how many.
WITH ahead AS (
    SELECT seq FROM runs WHERE delayed_at IS NOT NULL AND delayed_at > $1 + $2::bigint LIMIT 256 FOR NO KEY UPDATE SKIP LOCKED
), anew AS (
    UPDATE runs r SET due = $1 + (r.due - r.delayed_at), delayed_at = $1 FROM ahead
    WHERE r.seq = ahead.seq AND r.delayed_at > $1 RETURNING 1
)
SELECT count(*) FROM anew;

-- name: take
-- Makes a pending run running, in the hands of a worker.
SELECT {run} FROM tl_take($1, $2, $3, $4);

-- name: run_state
-- How a run stands.
SELECT status, fence, cancel FROM runs WHERE run_id = $1;

-- name: holds
-- Whether a run is running under a fence, which nobody ends before this transaction has.
SELECT true FROM runs WHERE run_id = $1 AND fence = $2 AND status = 'running' FOR SHARE;

-- name: holds_now
-- Whether a run is running under a fence.
SELECT true FROM runs WHERE run_id = $1 AND fence = $2 AND status = 'running';

-- name: renew
-- Extends leases that are still held; tells what was asked of the runs, and whether the lease was extended. A run that is just
-- being changed stays ours without that: whoever changes it must not hold up the others. However clocks are set, a lease grows.
WITH held AS (
    SELECT r.seq, r.run_id, r.fence, r.cancel
    FROM unnest($1::text[], $2::bigint[]) AS h (run_id, fence) JOIN runs r ON r.run_id = h.run_id AND r.fence = h.fence
    WHERE r.status = 'running'
), free AS (
    SELECT r.seq FROM runs r WHERE r.seq IN (SELECT seq FROM held) FOR NO KEY UPDATE SKIP LOCKED
), extended AS (
    UPDATE runs r SET lease = greatest(r.lease + 1, $3) FROM free JOIN held ON held.seq = free.seq
    WHERE r.seq = free.seq AND r.fence = held.fence AND r.status = 'running'
    RETURNING r.run_id, r.cancel
)
SELECT run_id, cancel, true FROM extended
UNION ALL
SELECT run_id, cancel, false FROM held WHERE seq NOT IN (SELECT seq FROM free);

-- name: leases
-- The leases of all running runs.
SELECT run_id, fence, lease FROM runs WHERE status = 'running' ORDER BY seq;

-- name: still_held
-- The runs of these leases that have not been renewed since, of threads that nobody else is changing; locks those threads.
SELECT {run} FROM tl_still_held($1, $2, $3);

-- name: set_status
-- A new status; a run that is no longer running holds no lease and no fence.
SELECT tl_set_run_status($1, $2, $3, $4);

-- name: requeue
-- A running run goes back to its place in the queue.
SELECT tl_requeue($1, $2);

-- name: request_cancel
-- Asks a running run to stop; a rollback is never softened again.
UPDATE runs SET cancel = $2 WHERE run_id = $1 AND status = 'running' AND coalesce(cancel, '') <> 'rollback';

-- name: delete
-- Removes a run's row.
SELECT tl_delete_run($1);

-- name: delete_of_thread
-- Removes the rows of all runs of a thread.
DELETE FROM runs WHERE thread_id = $1;

-- name: put_outcome
-- Keeps how a run ended.
INSERT INTO outcomes ({outcome}) VALUES ({outcome_values})
ON CONFLICT (run_id) DO UPDATE SET thread_id = excluded.thread_id, status = excluded.status, output = excluded.output,
    error = excluded.error, metadata = excluded.metadata, expires_at = NULL;

-- name: outcome
-- How a run ended.
SELECT {outcome} FROM outcomes WHERE run_id = $1;

-- name: expire_outcomes
-- The outcomes of a thread that goes are kept until a moment.
UPDATE outcomes SET expires_at = $2 WHERE thread_id = $1;

-- name: delete_outcome
-- Forgets how a run ended.
DELETE FROM outcomes WHERE run_id = $1;

-- name: delete_expired_outcomes
-- Forgets the outcomes whose time is over. Gives how many; one that another process is dropping is not waited for.
WITH over AS (
    SELECT run_id FROM outcomes WHERE expires_at < $1 FOR UPDATE SKIP LOCKED
), gone AS (
    DELETE FROM outcomes o USING over WHERE o.run_id = over.run_id RETURNING 1
)
SELECT count(*) FROM gone;

-- name: ended_before
-- The oldest runs that ended before a moment, without those that still wait for an answer.
SELECT r.run_id FROM runs r
WHERE r.ended_at < $1 AND r.status NOT IN ('pending', 'running')
  AND NOT (r.seq = (SELECT max(n.seq) FROM runs n WHERE n.thread_id = r.thread_id)
           AND EXISTS (SELECT 1 FROM threads t WHERE t.thread_id = r.thread_id AND t.status = 'interrupted'))
ORDER BY r.ended_at LIMIT $2;

-- name: queue
-- For the figures: how many wait and run, and since when those wait whose time has come: the first, the one in the middle, the
-- first that could begin.
WITH due AS MATERIALIZED (SELECT due FROM runs WHERE status = 'pending' AND (delayed_at IS NULL OR due <= $1))
SELECT
    (SELECT count(*) FROM runs WHERE status = 'pending'),
    (SELECT count(*) FROM runs WHERE status = 'running'),
    (SELECT min(due) FROM due),
    (SELECT due FROM due ORDER BY due LIMIT 1 OFFSET (SELECT count(*) / 2 FROM due)),
    (SELECT min(due) FROM (
        SELECT due FROM runs WHERE ready IS NOT NULL
        UNION ALL SELECT due FROM runs d WHERE delayed_at IS NOT NULL AND due <= $1
            AND NOT EXISTS (SELECT 1 FROM runs a WHERE a.thread_id = d.thread_id AND a.status = 'running')) unblocked);
