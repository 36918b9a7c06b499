-- Crons: schedules that start runs.

-- name: insert
-- A new cron.
INSERT INTO crons ({new_cron}, ends_at) VALUES ({new_cron_values}, :ends_at);

-- name: get
-- One cron.
SELECT {cron}
FROM crons
WHERE cron_id = ?;

-- name: update
-- Changes the fields that a caller can change.
UPDATE crons SET {cron_changes}, ends_at = :ends_at WHERE cron_id = :cron_id;

-- name: due
-- Enabled crons that are due.
SELECT {cron}
FROM crons
WHERE enabled AND next_run_date <= :now
ORDER BY next_run_date, seq
LIMIT :limit;

-- name: scheduled_after
-- Enabled crons with a next date that were fired or changed after a moment, by id.
SELECT {cron}
FROM crons
WHERE enabled AND next_run_date IS NOT NULL AND (last_fired_at > :moment OR updated_at > :moment) AND cron_id > :beyond
ORDER BY cron_id LIMIT :limit;

-- name: advance
-- Sets the next date, if the current one is still the expected one.
UPDATE crons
SET next_run_date = :following, last_fired_at = coalesce(:fired_at, last_fired_at)
WHERE cron_id = :cron_id AND next_run_date = :expected AND enabled;

-- name: note
-- Stores the result of the latest firing.
UPDATE crons SET last_run_id = :run_id, last_error = :error WHERE cron_id = :cron_id;

-- name: delete
-- Deletes one cron.
DELETE FROM crons WHERE cron_id = ?;

-- name: delete_of_thread
-- Deletes all crons of a thread.
DELETE FROM crons WHERE thread_id = ?;

-- name: delete_of_assistant
-- Deletes all crons of an assistant.
DELETE FROM crons WHERE assistant_id = ?;

-- name: search
-- Crons by filters; the order is appended.
SELECT {cron}
FROM crons
WHERE (:assistant_id IS NULL OR assistant_id = :assistant_id)
    AND (:thread_id IS NULL OR thread_id = :thread_id)
    AND (:enabled IS NULL OR enabled = :enabled)
    AND (:metadata IS NULL OR contains(metadata, :metadata));

-- name: count
-- How many crons match the same filters.
SELECT count(*)
FROM crons
WHERE (:assistant_id IS NULL OR assistant_id = :assistant_id)
    AND (:thread_id IS NULL OR thread_id = :thread_id)
    AND (:enabled IS NULL OR enabled = :enabled)
    AND (:metadata IS NULL OR contains(metadata, :metadata));
