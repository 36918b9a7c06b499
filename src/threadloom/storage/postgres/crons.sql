-- Crons: schedules that start runs.

-- name: insert
-- A new cron.
INSERT INTO crons
    (cron_id, schedule, timezone, end_time, ends_at, payload, next_run_date, metadata, search, on_run_completed, enabled,
     updated_at, assistant_id, thread_id, user_id, "user", created_at)
VALUES ($1, $2, $3, $4, $5, $6, $7, $8, $9, $10, $11, $12, $13, $14, $15, $16, $17);

-- name: get
-- One cron.
SELECT * FROM crons WHERE cron_id = $1;

-- name: get_to_change
-- One cron, which nobody else changes until this transaction ends.
SELECT * FROM crons WHERE cron_id = $1 FOR NO KEY UPDATE;

-- name: thread_of
-- The thread that a cron belongs to.
SELECT thread_id FROM crons WHERE cron_id = $1;

-- name: update
-- What a caller can change.
UPDATE crons
SET schedule = $2, timezone = $3, end_time = $4, ends_at = $5, payload = $6, next_run_date = $7, metadata = $8, search = $9,
    on_run_completed = $10, enabled = $11, updated_at = $12
WHERE cron_id = $1;

-- name: due
-- Enabled crons whose date has come.
SELECT * FROM crons WHERE enabled AND next_run_date IS NOT NULL AND next_run_date <= $1 ORDER BY next_run_date, seq LIMIT $2;

-- name: reckoned_after
-- Enabled crons that were fired or changed after a moment and have a date, by id.
SELECT * FROM crons
WHERE enabled AND next_run_date IS NOT NULL AND (last_fired_at > $1 OR updated_at > $1) AND cron_id > $2
ORDER BY cron_id LIMIT $3;

-- name: advance
-- The next date, for the one who finds the old one still there.
UPDATE crons
SET next_run_date = $3, last_fired_at = coalesce($4, last_fired_at)
WHERE cron_id = $1 AND next_run_date = $2 AND enabled
RETURNING true;

-- name: note
-- What the latest firing led to.
UPDATE crons SET last_run_id = $2, last_error = $3 WHERE cron_id = $1;

-- name: delete
-- One cron.
DELETE FROM crons WHERE cron_id = $1 RETURNING true;

-- name: delete_of_thread
-- All crons of a thread. Gives how many.
WITH gone AS (DELETE FROM crons WHERE thread_id = $1 RETURNING 1) SELECT count(*) FROM gone;

-- name: delete_of_assistant
-- All crons of an assistant. Gives how many.
WITH gone AS (DELETE FROM crons WHERE assistant_id = $1 RETURNING 1) SELECT count(*) FROM gone;
