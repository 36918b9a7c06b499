-- name: insert
-- A new run, at the end of the queue or already in a worker's hands.
INSERT INTO runs (run_id, thread_id, assistant_id, status, created_at, updated_at, metadata, kwargs, multitask_strategy, due,
    user_id, priority, attempt, fence, worker, lease, started_at)
VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?);

-- name: get
-- One run by id.
SELECT * FROM runs WHERE run_id = ?;

-- name: of_thread
-- The runs of a thread, newest first, of one status or of all.
SELECT * FROM runs WHERE thread_id = ?1 AND (?2 IS NULL OR status = ?2) ORDER BY seq DESC LIMIT ?3 OFFSET ?4;

-- name: active_of_thread
-- Runs of a thread that are still to end, oldest first.
SELECT * FROM runs INDEXED BY runs_active WHERE thread_id = ? AND status IN ('pending', 'running') ORDER BY seq;

-- name: active
-- All runs that are still to end, oldest first.
SELECT * FROM runs INDEXED BY runs_active WHERE status IN ('pending', 'running') ORDER BY seq;

-- name: count_active
-- How many runs of a thread are still to end.
SELECT count(*) FROM runs INDEXED BY runs_active WHERE thread_id = ? AND status IN ('pending', 'running');

-- name: count_active_of_user
-- How many runs of a user are still to end, those of one thread left out.
SELECT count(*) FROM runs INDEXED BY runs_active
WHERE status IN ('pending', 'running') AND coalesce(user_id, '') = ?1 AND thread_id <> ?2;

-- name: outlook
-- Whether there is a due pending run that is its thread's next, and when the next one is due that waits only for its time.
SELECT EXISTS (
    SELECT 1 FROM runs p
    WHERE status = 'pending' AND due <= ?1
      AND NOT EXISTS (SELECT 1 FROM runs a WHERE a.thread_id = p.thread_id AND a.status = 'running')
      AND NOT EXISTS (
          SELECT 1 FROM runs e
          WHERE e.thread_id = p.thread_id AND e.status = 'pending' AND e.due <= ?1 AND e.seq < p.seq)
), (SELECT min(due) FROM runs WHERE status = 'pending' AND due > ?1);

-- name: next_level
-- The most urgent priority of pending runs that are less urgent than one.
SELECT min(priority) FROM runs WHERE status = 'pending' AND priority > ?;

-- name: to_claim
-- Due pending runs of one priority, the first of each thread that has none running, with ?3 to below ?4 attempts behind them.
SELECT run_id FROM runs p
WHERE status = 'pending' AND priority = ?5 AND due <= ?1 AND attempt >= ?3 AND (?4 IS NULL OR attempt < ?4)
  AND NOT EXISTS (SELECT 1 FROM runs a WHERE a.thread_id = p.thread_id AND a.status = 'running')
  AND NOT EXISTS (SELECT 1 FROM runs e WHERE e.thread_id = p.thread_id AND e.status = 'pending' AND e.due <= ?1 AND e.seq < p.seq)
ORDER BY due, seq LIMIT ?2;

-- name: last_fence
-- The largest fence that was ever given out and may still be held.
SELECT max((SELECT max(next) FROM fences), (SELECT coalesce(max(fence), 0) FROM runs WHERE status = 'running'));

-- name: claim
-- Makes a pending run running, in the hands of a worker.
UPDATE runs SET status = 'running', attempt = attempt + 1, fence = ?2, worker = ?3, lease = ?4,
    started_at = coalesce(started_at, ?5), updated_at = ?5
WHERE run_id = ?1 AND status = 'pending' RETURNING *;

-- name: standing
-- How a run stands.
SELECT status, fence, cancel FROM runs WHERE run_id = ?;

-- name: holds
-- Whether a run is running under a fence.
SELECT 1 FROM runs WHERE run_id = ? AND fence = ? AND status = 'running';

-- name: renew
-- Extends a lease that is still held; tells what was asked of the run.
UPDATE runs SET lease = ?3 WHERE run_id = ?1 AND fence = ?2 AND status = 'running' RETURNING cancel;

-- name: expired
-- Running runs whose lease is over, or all running ones when no moment is given.
SELECT * FROM runs INDEXED BY runs_one_running WHERE status = 'running' AND (?1 IS NULL OR lease < ?1) ORDER BY seq;

-- name: set_status
-- A new status; a run that is no longer running holds no lease and no fence.
UPDATE runs SET status = ?2, updated_at = ?3, ended_at = coalesce(?4, ended_at),
    lease = CASE WHEN ?2 = 'running' THEN lease END, worker = CASE WHEN ?2 = 'running' THEN worker END,
    fence = CASE WHEN ?2 = 'running' THEN fence ELSE 0 END
WHERE run_id = ?1;

-- name: requeue
-- A running run goes back to its place in the queue.
UPDATE runs SET status = 'pending', attempt = ?2, lease = NULL, worker = NULL, fence = 0 WHERE run_id = ?1;

-- name: request_cancel
-- Asks a running run to stop; a rollback is never softened again.
UPDATE runs SET cancel = ?2 WHERE run_id = ?1 AND status = 'running' AND coalesce(cancel, '') <> 'rollback';

-- name: delete
-- Removes a run's row.
DELETE FROM runs WHERE run_id = ?;

-- name: delete_of_thread
-- Removes the rows of all runs of a thread.
DELETE FROM runs WHERE thread_id = ?;

-- name: put_outcome
-- Keeps how a run ended.
INSERT OR REPLACE INTO outcomes (run_id, thread_id, status, output, error, metadata) VALUES (?, ?, ?, ?, ?, ?);

-- name: outcome
-- How a run ended.
SELECT run_id, thread_id, status, output, error, metadata FROM outcomes WHERE run_id = ?;

-- name: expire_outcomes
-- The outcomes of a thread that goes are kept until a moment.
UPDATE outcomes SET expires_at = ?2 WHERE thread_id = ?1;

-- name: drop_outcome
-- Forgets how a run ended.
DELETE FROM outcomes WHERE run_id = ?;

-- name: drop_expired_outcomes
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
-- For the figures: how many wait and run, and since when due ones wait: the first, the one in the middle, the first that could begin.
WITH due AS (SELECT due, seq, thread_id FROM runs WHERE status = 'pending' AND due <= ?1)
SELECT
    (SELECT count(*) FROM runs WHERE status = 'pending'),
    (SELECT count(*) FROM runs WHERE status = 'running'),
    (SELECT min(due) FROM due),
    (SELECT due FROM due ORDER BY due LIMIT 1 OFFSET (SELECT count(*) / 2 FROM due)),
    (SELECT min(due) FROM due p
     WHERE NOT EXISTS (SELECT 1 FROM runs a WHERE a.thread_id = p.thread_id AND a.status = 'running')
       AND NOT EXISTS (
           SELECT 1 FROM runs e
           WHERE e.thread_id = p.thread_id AND e.status = 'pending' AND e.due <= ?1 AND e.seq < p.seq));
