-- name: insert
-- A new run at the end of the queue. It is its thread's next run if none is running or pending there. Returns its number.
INSERT INTO runs ({new_run}, task_id, temporary, delayed_at, ready)
VALUES ({new_run_values}, :task_id, :temporary, :delayed_at, CASE WHEN :status = 'pending' AND :delayed_at::bigint IS NULL
    AND NOT EXISTS (SELECT 1 FROM runs WHERE thread_id || '' = :thread_id AND status = 'running')
    AND (SELECT seq FROM runs WHERE thread_id = :thread_id AND status = 'pending' AND delayed_at IS NULL
         ORDER BY seq + 0 LIMIT 1) IS NULL THEN 0 END)
RETURNING seq;

-- name: insert_claimed
-- A new run that a worker claims. Returns its number and its fence.
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
-- The running run of a thread, found without reading pending ones.
SELECT {run} FROM runs WHERE thread_id || '' = $1 AND status = 'running' AND status = $2 LIMIT $3 OFFSET $4;

-- name: active_of_thread
-- Pending and running runs of a thread, oldest first.
SELECT {run} FROM runs WHERE thread_id = $1 AND seq > $2 AND status IN ('pending', 'running') ORDER BY seq LIMIT $3;

-- name: has_active
-- Whether a run of a thread is pending or running.
SELECT EXISTS (SELECT 1 FROM runs WHERE thread_id = $1 AND status IN ('pending', 'running'));

-- name: busy_threads
-- The threads with pending or running runs, ordered by the creation of their first such run.
SELECT thread_id FROM runs WHERE status IN ('pending', 'running') GROUP BY thread_id ORDER BY min(seq);

-- name: lock_user
-- Locks a user, so that transactions that depend on the number of the user's runs happen one after the other.
SELECT pg_advisory_xact_lock(tl_key('user ' || $1));

-- name: count_active_of_user
-- How many runs of a user are pending or running, without those of one thread.
SELECT count(*) FROM runs WHERE status IN ('pending', 'running') AND user_id = $1 AND thread_id <> $2;

-- name: claim
-- Claims due pending runs, each of a thread that has none running and that no other transaction has locked.
SELECT {run} FROM tl_claim($1, $2, $3, $4, $5, $6);

-- name: peek
-- Whether `claim` finds anything, and when the next delayed run becomes due.
SELECT
    EXISTS (SELECT 1 FROM runs WHERE ready <= $1) OR EXISTS (SELECT 1 FROM runs WHERE delayed_at IS NOT NULL AND due <= $1),
    (SELECT min(due) FROM runs WHERE delayed_at IS NOT NULL AND due > $1);

-- name: recompute_delays
-- Restarts delays that were computed from a moment in the future. Runs of threads that another transaction has locked are left to
-- the next call. Returns how many.
WITH ahead AS (
    SELECT seq FROM runs WHERE delayed_at IS NOT NULL AND delayed_at > $1 + $2::bigint LIMIT 256 FOR NO KEY UPDATE SKIP LOCKED
), anew AS (
    UPDATE runs r SET due = $1 + (r.due - r.delayed_at), delayed_at = $1 FROM ahead
    WHERE r.seq = ahead.seq AND r.delayed_at > $1 RETURNING 1
)
SELECT count(*) FROM anew;

-- name: take
-- Makes a pending run running, claimed by a worker.
SELECT {run} FROM tl_take($1, $2, $3, $4);

-- name: run_state
-- The state of a run.
SELECT status, fence, cancel FROM runs WHERE run_id = $1;

-- name: holds
-- Whether a run is running under a fence; locks it, so that this cannot change before the transaction ends.
SELECT true FROM runs WHERE run_id = $1 AND fence = $2 AND status = 'running' FOR SHARE;

-- name: holds_now
-- Whether a run is running under a fence.
SELECT true FROM runs WHERE run_id = $1 AND fence = $2 AND status = 'running';

-- name: renew
-- Extends leases that are still held. Returns the requested cancellation of each run, and whether the lease was extended. A run
-- that is locked by another transaction stays held without an extension, so that others do not wait for that lock. A lease grows
-- even if the clock was set back.
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
-- The runs of these leases that have not been renewed since, of threads that no other transaction has locked; locks those
-- threads.
SELECT {run} FROM tl_still_held($1, $2, $3);

-- name: set_status
-- Sets the status; a run that is no longer running holds no lease and no fence.
SELECT tl_set_run_status($1, $2, $3, $4);

-- name: requeue
-- Returns a running run to its place in the queue.
SELECT tl_requeue($1, $2);

-- name: request_cancel
-- Requests the cancellation of a running run; a rollback is never replaced by an interrupt.
UPDATE runs SET cancel = $2 WHERE run_id = $1 AND status = 'running' AND coalesce(cancel, '') <> 'rollback';

-- name: delete
-- Removes a run's row.
SELECT tl_delete_run($1);

-- name: delete_of_thread
-- Removes the rows of all runs of a thread.
DELETE FROM runs WHERE thread_id = $1;

-- name: put_outcome
-- Stores how a run ended.
INSERT INTO outcomes ({outcome}) VALUES ({outcome_values})
ON CONFLICT (run_id) DO UPDATE SET thread_id = excluded.thread_id, status = excluded.status, output = excluded.output,
    error = excluded.error, metadata = excluded.metadata, expires_at = NULL;

-- name: outcome
-- How a run ended.
SELECT {outcome} FROM outcomes WHERE run_id = $1;

-- name: expire_outcomes
-- Sets when the outcomes of a deleted thread expire.
UPDATE outcomes SET expires_at = $2 WHERE thread_id = $1;

-- name: delete_outcome
-- Deletes the outcome of a run.
DELETE FROM outcomes WHERE run_id = $1;

-- name: delete_expired_outcomes
-- Deletes expired outcomes. Returns how many. Rows that another process is deleting are skipped.
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
-- Statistics: how many runs are pending and running, and since when due runs wait: the first, the median, the first that could
-- start.
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

-- name: queued
-- Pending and running runs, of some threads or of all: first those that run, then those that start next, then the others.
WITH active AS (
    SELECT *, CASE WHEN ready IS NOT NULL THEN row_number() OVER (PARTITION BY ready IS NOT NULL ORDER BY priority, seq) - 1 END
        AS ahead
    FROM runs WHERE status IN ('pending', 'running')
)
SELECT run_id, thread_id, assistant_id, status, created_at, due, attempt, worker, lease, ready IS NOT NULL,
    delayed_at IS NOT NULL, ahead
FROM active
WHERE $1::text[] IS NULL OR thread_id = ANY($1::text[])
ORDER BY status = 'pending', ahead, seq LIMIT $2;
