-- name: insert
-- A new run, at the end of the queue or already in a worker's hands. It is its thread's next when none runs or waits there.
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
-- The run of a thread that is executed, found without those that wait.
SELECT {run} FROM runs INDEXED BY runs_one_running WHERE thread_id = ?1 AND status = 'running' AND status = ?2 LIMIT ?3 OFFSET ?4;

-- name: active_of_thread
-- Runs of a thread that are still to end, oldest first.
SELECT {run} FROM (
    SELECT * FROM runs INDEXED BY runs_one_running WHERE thread_id = ?1 AND seq > ?2 AND status = 'running'
    UNION ALL SELECT * FROM (
        SELECT * FROM runs INDEXED BY runs_pending
        WHERE thread_id = ?1 AND seq > ?2 AND status = 'pending' ORDER BY seq LIMIT ?3))
ORDER BY seq LIMIT ?3;

-- name: has_active
-- Whether a run of a thread is still to end.
SELECT EXISTS (SELECT 1 FROM runs INDEXED BY runs_one_running WHERE thread_id = ?1 AND status = 'running')
    OR EXISTS (SELECT 1 FROM runs INDEXED BY runs_pending WHERE thread_id = ?1 AND status = 'pending');

-- name: busy_threads
-- The threads with runs that are still to end, the one whose first run was made first at the beginning.
SELECT thread_id FROM (
    SELECT thread_id, seq FROM runs INDEXED BY runs_one_running WHERE status = 'running'
    UNION ALL SELECT thread_id, seq FROM runs INDEXED BY runs_pending WHERE status = 'pending')
GROUP BY thread_id ORDER BY min(seq);

-- name: count_active_of_user
-- How many runs of a user are still to end, those of one thread left out.
SELECT
    (SELECT count(*) FROM runs INDEXED BY runs_pending_of_user
     WHERE status = 'pending' AND user_id IS nullif(?1, '') AND thread_id <> ?2)
    + (SELECT count(*) FROM runs INDEXED BY runs_one_running
       WHERE status = 'running' AND user_id IS nullif(?1, '') AND thread_id <> ?2);

-- name: peek
-- Whether `claim` finds anything to do, and when the next run is due that waits for its time.
SELECT
    EXISTS (SELECT 1 FROM runs INDEXED BY runs_ready WHERE ready = 1)
    OR EXISTS (SELECT 1 FROM runs INDEXED BY runs_delayed WHERE delayed_at IS NOT NULL AND due <= ?1),
    (SELECT min(due) FROM runs INDEXED BY runs_delayed WHERE delayed_at IS NOT NULL AND due > ?1);

-- name: next_level
-- The most urgent priority of runs that could begin and are less urgent than one.
SELECT min(priority) FROM runs INDEXED BY runs_ready WHERE ready = 1 AND priority > ?;

-- name: to_claim
-- Runs of one priority that could begin, the first made first, with ?2 to below ?3 attempts behind them.
SELECT run_id FROM runs INDEXED BY runs_ready
WHERE ready = 1 AND priority = ?4 AND attempt >= ?2 AND (?3 IS NULL OR attempt < ?3)
ORDER BY seq LIMIT ?1;

-- name: come_due
-- Runs whose time has come, the longest due first.
SELECT run_id FROM runs INDEXED BY runs_delayed WHERE delayed_at IS NOT NULL AND due <= ? ORDER BY due, seq LIMIT ?;

-- name: release
-- From now on a run waits for its turn alone, whatever the clock says.
UPDATE runs SET delayed_at = NULL WHERE run_id = ? RETURNING thread_id;

-- name: reckoned_ahead
-- Runs whose delay was reckoned from a moment that is yet to come.
SELECT run_id FROM runs INDEXED BY runs_delayed WHERE delayed_at IS NOT NULL AND delayed_at > ? LIMIT ?;

-- name: recompute_delays
-- The delay of a run begins again.
UPDATE runs SET due = ?2 + (due - delayed_at), delayed_at = ?2 WHERE run_id = ?1 AND delayed_at > ?2;

-- name: not_ready
-- No run of a thread is the next any more, unless it is one.
UPDATE runs INDEXED BY runs_ready_of_thread SET ready = 0 WHERE thread_id = ?1 AND ready = 1 AND seq IS NOT ?2;

-- name: next_of_thread
-- The first run of a thread that waits for its turn, while none runs there.
SELECT seq FROM runs INDEXED BY runs_waiting
WHERE thread_id = ?1 AND status = 'pending' AND delayed_at IS NULL
  AND NOT EXISTS (SELECT 1 FROM runs INDEXED BY runs_one_running WHERE thread_id = ?1 AND status = 'running')
ORDER BY seq LIMIT 1;

-- name: make_ready
-- It is its thread's next.
UPDATE runs SET ready = 1 WHERE seq = ? AND ready = 0;

-- name: last_fence
-- The largest fence that was ever given out and may still be held.
SELECT max((SELECT max(next) FROM fences), (SELECT coalesce(max(fence), 0) FROM runs WHERE status = 'running'));

-- name: claim
-- Makes a pending run running, in the hands of a worker.
UPDATE runs SET status = 'running', attempt = attempt + 1, fence = ?2, worker = ?3, lease = ?4,
    started_at = coalesce(started_at, ?5), updated_at = ?5, ready = 0, delayed_at = NULL
WHERE run_id = ?1 AND status = 'pending' RETURNING {run};

-- name: run_state
-- How a run stands.
SELECT status, fence, cancel FROM runs WHERE run_id = ?;

-- name: holds
-- Whether a run is running under a fence.
SELECT 1 FROM runs WHERE run_id = ? AND fence = ? AND status = 'running';

-- name: renew
-- Extends a lease that is still held; tells what was asked of the run. However clocks are set, it grows.
UPDATE runs SET lease = max(lease + 1, ?3) WHERE run_id = ?1 AND fence = ?2 AND status = 'running' RETURNING cancel;

-- name: leases
-- The leases of all running runs.
SELECT run_id, fence, lease FROM runs INDEXED BY runs_one_running WHERE status = 'running' ORDER BY seq;

-- name: held
-- A running run, if its lease has not been renewed since.
SELECT {run} FROM runs WHERE run_id = ? AND fence = ? AND lease = ? AND status = 'running';

-- name: set_status
-- A new status; a run that is no longer running holds no lease and no fence.
UPDATE runs SET status = ?2, updated_at = ?3, ended_at = coalesce(?4, ended_at), ready = 0, delayed_at = NULL,
    lease = CASE WHEN ?2 = 'running' THEN lease END, worker = CASE WHEN ?2 = 'running' THEN worker END,
    fence = CASE WHEN ?2 = 'running' THEN fence ELSE 0 END
WHERE run_id = ?1 RETURNING thread_id;

-- name: requeue
-- A running run goes back to its place in the queue.
UPDATE runs SET status = 'pending', attempt = ?2, lease = NULL, worker = NULL, fence = 0 WHERE run_id = ?1 RETURNING thread_id;

-- name: request_cancel
-- Asks a running run to stop; a rollback is never softened again.
UPDATE runs SET cancel = ?2 WHERE run_id = ?1 AND status = 'running' AND coalesce(cancel, '') <> 'rollback';

-- name: delete
-- Removes a run's row.
DELETE FROM runs WHERE run_id = ? RETURNING thread_id;

-- name: delete_of_thread
-- Removes the rows of all runs of a thread.
DELETE FROM runs WHERE thread_id = ?;

-- name: put_outcome
-- Keeps how a run ended.
INSERT OR REPLACE INTO outcomes ({outcome}) VALUES ({outcome_values});

-- name: outcome
-- How a run ended.
SELECT {outcome} FROM outcomes WHERE run_id = ?;

-- name: expire_outcomes
-- The outcomes of a thread that goes are kept until a moment.
UPDATE outcomes SET expires_at = ?2 WHERE thread_id = ?1;

-- name: delete_outcome
-- Forgets how a run ended.
DELETE FROM outcomes WHERE run_id = ?;

-- name: delete_expired_outcomes
-- Forgets the outcomes whose time is over.
DELETE FROM outcomes WHERE expires_at < ?;

-- name: ended_before
-- The oldest runs that ended before a moment, without those that still wait for an answer.
SELECT r.run_id FROM runs r
WHERE r.ended_at < ?1 AND r.status NOT IN ('pending', 'running')
  AND NOT (r.seq = (SELECT max(n.seq) FROM runs n WHERE n.thread_id = r.thread_id)
           AND EXISTS (SELECT 1 FROM threads t WHERE t.thread_id = r.thread_id AND t.status = 'interrupted'))
ORDER BY r.ended_at LIMIT ?2;

-- name: queue
-- For the figures: how many wait and run, and since when those wait whose time has come: the first, the one in the middle, the
-- first that could begin.
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
