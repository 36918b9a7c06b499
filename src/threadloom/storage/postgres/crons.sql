-- Crons: schedules that start runs.

-- name: insert
-- A new cron.
INSERT INTO crons ({new_cron}, ends_at, search) VALUES ({new_cron_values}, :ends_at, :search);

-- name: get
-- One cron.
SELECT {cron} FROM crons WHERE cron_id = $1;

-- name: get_to_change
-- One cron, locked against changes by others until the transaction ends.
SELECT {cron} FROM crons WHERE cron_id = $1 FOR NO KEY UPDATE;

-- name: thread_of
-- The thread that a cron belongs to.
SELECT thread_id FROM crons WHERE cron_id = $1;

-- name: update
-- Changes the fields that a caller can change.
UPDATE crons SET {cron_changes}, ends_at = :ends_at, search = :search WHERE cron_id = :cron_id;

-- name: due
-- Enabled crons that are due.
SELECT {cron} FROM crons WHERE enabled AND next_run_date IS NOT NULL AND next_run_date <= $1 ORDER BY next_run_date, seq LIMIT $2;

-- name: scheduled_after
-- Enabled crons with a next date that were fired or changed after a moment, by id.
SELECT {cron} FROM crons
WHERE enabled AND next_run_date IS NOT NULL AND (last_fired_at > $1 OR updated_at > $1) AND cron_id > $2
ORDER BY cron_id LIMIT $3;

-- name: advance
-- Sets the next date, if the current one is still the expected one.
UPDATE crons
SET next_run_date = $3, last_fired_at = coalesce($4, last_fired_at)
WHERE cron_id = $1 AND next_run_date = $2 AND enabled
RETURNING true;

-- name: note
-- Stores the result of the latest firing.
UPDATE crons SET last_run_id = $2, last_error = $3 WHERE cron_id = $1;

-- name: delete
-- Deletes one cron.
DELETE FROM crons WHERE cron_id = $1 RETURNING true;

-- name: delete_of_thread
-- Deletes all crons of a thread. Returns how many.
WITH gone AS (DELETE FROM crons WHERE thread_id = $1 RETURNING 1) SELECT count(*) FROM gone;

-- name: delete_of_assistant
-- Deletes all crons of an assistant. Returns how many.
WITH gone AS (DELETE FROM crons WHERE assistant_id = $1 RETURNING 1) SELECT count(*) FROM gone;
