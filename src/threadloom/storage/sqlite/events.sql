-- name: last_seq
-- The number of a thread's newest stored event.
SELECT coalesce(max(seq), 0) FROM events WHERE thread_id = ?;

-- name: append
-- One event at its place in its thread's log.
INSERT INTO events (thread_id, seq, run_id, ms, n, name, mode, last, data) VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?);

-- name: of_run
-- The events of a run after an id, oldest first.
SELECT thread_id, run_id, name, data, mode, ms, n, seq, last FROM events
WHERE run_id = ? AND (ms, n) > (?, ?) ORDER BY ms, n LIMIT ?;

-- name: of_thread
-- The events of a thread after an id, oldest first.
SELECT thread_id, run_id, name, data, mode, ms, n, seq, last FROM events
WHERE thread_id = ? AND (ms, n) > (?, ?) ORDER BY seq LIMIT ?;

-- name: expire
-- The events of a run that ended are kept until a moment.
UPDATE events SET expires_at = ?2 WHERE run_id = ?1;

-- name: drop_of_run
-- Forgets the events of a run.
DELETE FROM events WHERE run_id = ?;

-- name: drop_expired
-- Forgets the events whose time is over.
DELETE FROM events WHERE expires_at < ?;

-- name: trim
-- Keeps the newest events of a thread.
DELETE FROM events WHERE thread_id = ?1 AND seq <= (SELECT max(seq) FROM events WHERE thread_id = ?1) - ?2;
