-- name: insert
-- A new run, at the end of the queue or already claimed by a worker. It is its thread's next run if none is running or pending
-- there.
INSERT INTO runs ({new_run}, fence, worker, delayed_at, ready)
VALUES ({new_run_values}, :fence, :worker, :delayed_at,
    CASE WHEN :status = 'pending' AND :delayed_at IS NULL THEN
        NOT EXISTS (SELECT 1 FROM runs INDEXED BY runs_one_running WHERE thread_id = :thread_id AND status = 'running')
        AND NOT EXISTS (
            SELECT 1 FROM runs INDEXED BY runs_waiting
            WHERE thread_id = :thread_id AND status = 'pending' AND delayed_at IS NULL)
    ELSE 0 END);

-- name: get
-- One run by id.
SELECT {run} FROM runs WHERE run_id = ?;

-- name: of_thread
-- The runs of a thread, newest first, of one status or of all.
SELECT {run} FROM runs WHERE thread_id = ?1 AND (?2 IS NULL OR status = ?2) ORDER BY seq DESC LIMIT ?3 OFFSET ?4;

-- name: running_of_thread
-- The running run of a thread, found without reading pending ones.
SELECT {run} FROM runs INDEXED BY runs_one_running WHERE thread_id = ?1 AND status = 'running' AND status = ?2 LIMIT ?3 OFFSET ?4;

-- name: active_of_thread
-- Pending and running runs of a thread, oldest first.
SELECT {run} FROM (
    SELECT * FROM runs INDEXED BY runs_one_running WHERE thread_id = ?1 AND seq > ?2 AND status = 'running'
    UNION ALL SELECT * FROM (
        SELECT * FROM runs INDEXED BY runs_pending
        WHERE thread_id = ?1 AND seq > ?2 AND status = 'pending' ORDER BY seq LIMIT ?3))
ORDER BY seq LIMIT ?3;

-- name: has_active
-- Whether a run of a thread is pending or running.
SELECT EXISTS (SELECT 1 FROM runs INDEXED BY runs_one_running WHERE thread_id = ?1 AND status = 'running')
    OR EXISTS (SELECT 1 FROM runs INDEXED BY runs_pending WHERE thread_id = ?1 AND status = 'pending');

-- name: busy_threads
-- The threads with pending or running runs, ordered by the creation of their first such run.
SELECT thread_id FROM (
    SELECT thread_id, seq FROM runs INDEXED BY runs_one_running WHERE status = 'running'
    UNION ALL SELECT thread_id, seq FROM runs INDEXED BY runs_pending WHERE status = 'pending')
GROUP BY thread_id ORDER BY min(seq);

-- name: count_active_of_user
-- How many runs of a user are pending or running, without those of one thread.
SELECT
    (SELECT count(*) FROM runs INDEXED BY runs_pending_of_user
     WHERE status = 'pending' AND user_id IS nullif(?1, '') AND thread_id <> ?2)
    + (SELECT count(*) FROM runs INDEXED BY runs_one_running
       WHERE status = 'running' AND user_id IS nullif(?1, '') AND thread_id <> ?2);

-- name: peek
-- Whether `claim` finds anything, and when the next delayed run becomes due.
SELECT
    EXISTS (SELECT 1 FROM runs INDEXED BY runs_ready WHERE ready = 1)
    OR EXISTS (SELECT 1 FROM runs INDEXED BY runs_delayed WHERE delayed_at IS NOT NULL AND due <= ?1),
    (SELECT min(due) FROM runs INDEXED BY runs_delayed WHERE delayed_at IS NOT NULL AND due > ?1);

-- name: next_level
-- The most urgent priority of ready runs that are less urgent than a given one.
SELECT min(priority) FROM runs INDEXED BY runs_ready WHERE ready = 1 AND priority > ?;

-- name: to_claim
-- Ready runs of one priority, the oldest first, with at least ?2 and fewer than ?3 attempts.
SELECT run_id FROM runs INDEXED BY runs_ready
WHERE ready = 1 AND priority = ?4 AND attempt >= ?2 AND (?3 IS NULL OR attempt < ?3)
ORDER BY seq LIMIT ?1;

-- name: come_due
-- Delayed runs that have become due, the longest due first.
SELECT run_id FROM runs INDEXED BY runs_delayed WHERE delayed_at IS NOT NULL AND due <= ? ORDER BY due, seq LIMIT ?;

-- name: release
-- Ends the delay of a run: it waits only for its turn, whatever the clock says.
UPDATE runs SET delayed_at = NULL WHERE run_id = ? RETURNING thread_id;

-- name: reckoned_ahead
-- Runs whose delay was computed from a moment in the future.
SELECT run_id FROM runs INDEXED BY runs_delayed WHERE delayed_at IS NOT NULL AND delayed_at > ? LIMIT ?;

-- name: recompute_delays
-- Restarts the delay of a run.
UPDATE runs SET due = ?2 + (due - delayed_at), delayed_at = ?2 WHERE run_id = ?1 AND delayed_at > ?2;

-- name: not_ready
-- Removes the mark of a thread's next run, unless it is the given run.
UPDATE runs INDEXED BY runs_ready_of_thread SET ready = 0 WHERE thread_id = ?1 AND ready = 1 AND seq IS NOT ?2;

-- name: next_of_thread
-- The oldest run of a thread that waits for its turn, if none is running there.
SELECT seq FROM runs INDEXED BY runs_waiting
WHERE thread_id = ?1 AND status = 'pending' AND delayed_at IS NULL
  AND NOT EXISTS (SELECT 1 FROM runs INDEXED BY runs_one_running WHERE thread_id = ?1 AND status = 'running')
ORDER BY seq LIMIT 1;

-- name: make_ready
-- Marks a run as its thread's next.
UPDATE runs SET ready = 1 WHERE seq = ? AND ready = 0;

-- name: last_fence
-- The largest fence that was ever assigned and may still be held.
SELECT max((SELECT max(next) FROM fences), (SELECT coalesce(max(fence), 0) FROM runs WHERE status = 'running'));

-- name: claim
-- Makes a pending run running, claimed by a worker.
UPDATE runs SET status = 'running', attempt = attempt + 1, fence = ?2, worker = ?3, lease = ?4,
    started_at = coalesce(started_at, ?5), updated_at = ?5, ready = 0, delayed_at = NULL
WHERE run_id = ?1 AND status = 'pending' RETURNING {run};

-- name: run_state
-- The state of a run.
SELECT status, fence, cancel FROM runs WHERE run_id = ?;

-- name: holds
-- Whether a run is running under a fence.
SELECT 1 FROM runs WHERE run_id = ? AND fence = ? AND status = 'running';

-- name: renew
-- Extends a lease that is still held. Returns the requested cancellation. The lease grows even if the clock was set back.
UPDATE runs SET lease = max(lease + 1, ?3) WHERE run_id = ?1 AND fence = ?2 AND status = 'running' RETURNING cancel;

-- name: leases
-- The leases of all running runs.
SELECT run_id, fence, lease FROM runs INDEXED BY runs_one_running WHERE status = 'running' ORDER BY seq;

-- name: held
-- A running run, if its lease has not been renewed since.
SELECT {run} FROM runs WHERE run_id = ? AND fence = ? AND lease = ? AND status = 'running';

-- name: set_status
-- Sets the status; a run that is no longer running holds no lease and no fence.
UPDATE runs SET status = ?2, updated_at = ?3, ended_at = coalesce(?4, ended_at), ready = 0, delayed_at = NULL,
    lease = CASE WHEN ?2 = 'running' THEN lease END, worker = CASE WHEN ?2 = 'running' THEN worker END,
    fence = CASE WHEN ?2 = 'running' THEN fence ELSE 0 END
WHERE run_id = ?1 RETURNING thread_id;

-- name: requeue
-- Returns a running run to its place in the queue.
UPDATE runs SET status = 'pending', attempt = ?2, lease = NULL, worker = NULL, fence = 0 WHERE run_id = ?1 RETURNING thread_id;

-- name: request_cancel
-- Requests the cancellation of a running run; a rollback is never replaced by an interrupt.
UPDATE runs SET cancel = ?2 WHERE run_id = ?1 AND status = 'running' AND coalesce(cancel, '') <> 'rollback';

-- name: delete
-- Removes a run's row.
DELETE FROM runs WHERE run_id = ? RETURNING thread_id;

-- name: delete_of_thread
-- Removes the rows of all runs of a thread.
DELETE FROM runs WHERE thread_id = ?;

-- name: put_outcome
-- Stores how a run ended.
INSERT OR REPLACE INTO outcomes ({outcome}) VALUES ({outcome_values});

-- name: outcome
-- How a run ended.
SELECT {outcome} FROM outcomes WHERE run_id = ?;

-- name: expire_outcomes
-- Sets when the outcomes of a deleted thread expire.
UPDATE outcomes SET expires_at = ?2 WHERE thread_id = ?1;

-- name: delete_outcome
-- Deletes the outcome of a run.
DELETE FROM outcomes WHERE run_id = ?;

-- name: delete_expired_outcomes
-- Deletes expired outcomes.
DELETE FROM outcomes WHERE expires_at < ?;

-- name: ended_before
-- The oldest runs that ended before a moment, without those that still wait for an answer.
SELECT r.run_id FROM runs r
WHERE r.ended_at < ?1 AND r.status NOT IN ('pending', 'running')
  AND NOT (r.seq = (SELECT max(n.seq) FROM runs n WHERE n.thread_id = r.thread_id)
           AND EXISTS (SELECT 1 FROM threads t WHERE t.thread_id = r.thread_id AND t.status = 'interrupted'))
ORDER BY r.ended_at LIMIT ?2;

-- name: queue
-- Statistics: how many runs are pending and running, and since when due runs wait: the first, the median, the first that could
-- start.
WITH due AS (
    SELECT due FROM runs INDEXED BY runs_waiting WHERE status = 'pending' AND delayed_at IS NULL
    UNION ALL SELECT due FROM runs INDEXED BY runs_delayed WHERE delayed_at IS NOT NULL AND due <= ?1
)
SELECT
    (SELECT count(*) FROM runs INDEXED BY runs_pending WHERE status = 'pending'),
    (SELECT count(*) FROM runs INDEXED BY runs_one_running WHERE status = 'running'),
    (SELECT min(due) FROM due),
    (SELECT due FROM due ORDER BY due LIMIT 1 OFFSET (SELECT count(*) / 2 FROM due)),
    (SELECT min(due) FROM (
        SELECT due FROM runs INDEXED BY runs_ready WHERE ready = 1
        UNION ALL SELECT due FROM runs d INDEXED BY runs_delayed WHERE delayed_at IS NOT NULL AND due <= ?1
            AND NOT EXISTS (SELECT 1 FROM runs a WHERE a.thread_id = d.thread_id AND a.status = 'running')));

-- name: queued
-- Pending and running runs, of some threads or of all: first those that run, then those that start next, then the others.
WITH active AS (
    SELECT *, NULL AS ahead FROM runs INDEXED BY runs_one_running WHERE status = 'running'
    UNION ALL SELECT *, NULL FROM runs INDEXED BY runs_pending WHERE status = 'pending' AND ready = 0
    UNION ALL SELECT *, row_number() OVER (ORDER BY priority, seq) - 1 FROM runs INDEXED BY runs_ready WHERE ready = 1
)
SELECT run_id, thread_id, assistant_id, status, created_at, due, attempt, worker, lease, ready,
    delayed_at IS NOT NULL, ahead
FROM active
WHERE ?1 IS NULL OR thread_id IN (SELECT value FROM json_each(?1))
ORDER BY status = 'pending', ahead IS NULL, ahead, seq LIMIT ?2;
