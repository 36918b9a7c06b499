-- name: append
-- Appends events to a thread's log. Returns the number of the first, and the ids that had to be moved;
-- no number if the base of a value is not stored.
SELECT * FROM tl_append($1, $2, $3, $4, $5, $6, $7, $8, $9, $10, $11, $12);

-- name: values
-- Values, and all that they build on.
WITH RECURSIVE needed (id) AS (
    SELECT unnest($1::bigint[])
    UNION SELECT v.base FROM needed n JOIN event_values v ON v.id = n.id WHERE v.base IS NOT NULL
)
SELECT v.id, v.base, v.data FROM needed n JOIN event_values v ON v.id = n.id;

-- name: drop_values
-- Deletes those of some values that have no event and that no other value builds on. This is a separate statement after events
-- were deleted, so that it sees what was appended before the log was locked.
SELECT tl_drop_event_values($1);

-- name: of_run
-- The events of a run after an id, oldest first. The page is limited in number and in bytes.
SELECT {event}, value FROM (
    SELECT *, sum(size) OVER (ORDER BY ms, n) - size AS before FROM (
        SELECT {event}, value, size FROM events
        WHERE run_id = $1 AND (ms, n) > ($2, $3) AND mode <> 'v2' ORDER BY ms, n LIMIT $4
    ) AS counted
) AS page WHERE $5::bigint IS NULL OR before < $5 ORDER BY ms, n;

-- name: last_of_run
-- Id and number of a run's newest event.
SELECT ms, n, seq FROM events WHERE run_id = $1 AND mode <> 'v2' ORDER BY ms DESC, n DESC LIMIT 1;

-- name: of_thread
-- The events of a thread after an id, oldest first. The page is limited in number and in bytes.
SELECT {event}, value FROM (
    SELECT *, sum(size) OVER (ORDER BY seq) - size AS before FROM (
        SELECT {event}, value, size FROM events
        WHERE thread_id = $1 AND (ms, n) > ($2, $3) AND mode <> 'v2' ORDER BY seq LIMIT $4
    ) AS counted
) AS page WHERE $5::bigint IS NULL OR before < $5 ORDER BY seq;

-- name: of_channels
-- The v2 events of a thread between two numbers, of some methods and runs, oldest first. The page is limited in number and in
-- bytes.
SELECT {event}, value FROM (
    SELECT *, sum(size) OVER (ORDER BY seq) - size AS before FROM (
        SELECT {event}, value, size FROM events
        WHERE thread_id = $1 AND seq > $2 AND seq <= $3 AND mode = 'v2'
            AND name = ANY($4::text[]) AND ($5::text IS NULL OR run_id = $5)
        ORDER BY seq LIMIT $6
    ) AS counted
) AS page WHERE $7::bigint IS NULL OR before < $7 ORDER BY seq;

-- name: last_channel_seq
-- The number of a thread's newest v2 event, even if it was removed.
SELECT greatest(
    (SELECT seq FROM events WHERE thread_id = $1 AND mode = 'v2' ORDER BY seq DESC LIMIT 1),
    (SELECT floor FROM event_logs WHERE thread_id = $1),
    0
);

-- name: floor
-- The number up to which v2 events of a thread may have been removed.
SELECT floor FROM event_logs WHERE thread_id = $1;

-- name: expire
-- Sets when the events of a finished run expire. The lifecycle and input events of a v2 run are kept for later readers.
UPDATE events SET expires_at = $2 WHERE run_id = $1 AND NOT (
    mode = 'v2' AND name IN ('lifecycle', 'input.requested', 'input.answered')
);

-- name: expire_log
-- Sets when the events of a deleted thread expire. Its row of `event_logs`, which numbers them, is deleted with the last of them;
-- at once when there is none.
WITH kept AS (
    UPDATE events SET expires_at = $2 WHERE thread_id = $1 AND expires_at IS NULL
)
DELETE FROM event_logs WHERE thread_id = $1 AND NOT EXISTS (SELECT 1 FROM events WHERE thread_id = $1);

-- name: delete_of_run
-- Deletes the events of a run, and stores up to which number v2 events were removed. Returns their values.
WITH log AS (
    SELECT thread_id FROM event_logs WHERE thread_id = (SELECT thread_id FROM events WHERE run_id = $1 LIMIT 1)
    FOR NO KEY UPDATE
), gone AS (
    DELETE FROM events e USING log WHERE e.thread_id = log.thread_id AND e.run_id = $1
    RETURNING e.thread_id, e.seq, e.mode, e.value
), noted AS (
    UPDATE event_logs l SET floor = greatest(l.floor, g.seq)
    FROM (SELECT thread_id, max(seq) AS seq FROM gone WHERE mode = 'v2' GROUP BY thread_id) g
    WHERE l.thread_id = g.thread_id
)
SELECT array_agg(value) FILTER (WHERE value IS NOT NULL) FROM gone;

-- name: delete_expired
-- Deletes expired events, and stores up to which number v2 events were removed. Returns how many, of which threads, and
-- their values. Logs that
-- are locked by a writer are skipped until the next call, so that this never waits for a lock.
WITH logs AS (
    SELECT thread_id FROM event_logs
    WHERE thread_id IN (SELECT thread_id FROM events WHERE expires_at < $1)
    FOR NO KEY UPDATE SKIP LOCKED
), gone AS (
    DELETE FROM events e USING logs WHERE e.thread_id = logs.thread_id AND e.expires_at < $1
    RETURNING e.thread_id, e.seq, e.mode, e.value
), noted AS (
    UPDATE event_logs l SET floor = greatest(l.floor, g.seq)
    FROM (SELECT thread_id, max(seq) AS seq FROM gone WHERE mode = 'v2' GROUP BY thread_id) g
    WHERE l.thread_id = g.thread_id
)
SELECT count(*), array_agg(DISTINCT thread_id), array_agg(value) FILTER (WHERE value IS NOT NULL) FROM gone;

-- name: drop_dead_logs
-- Deletes the numbering of deleted threads without any remaining event. `delete_expired` has locked these logs. This is a
-- separate statement, so that it sees what was stored before.
DELETE FROM event_logs l WHERE l.thread_id = ANY($1::text[])
    AND NOT EXISTS (SELECT 1 FROM threads t WHERE t.thread_id = l.thread_id)
    AND NOT EXISTS (SELECT 1 FROM events e WHERE e.thread_id = l.thread_id);

-- name: trim
-- Deletes all but the newest events of a thread, and stores up to which number v2 events were removed. Returns their values.
WITH log AS (
    SELECT thread_id, seq FROM event_logs WHERE thread_id = $1 FOR NO KEY UPDATE
), gone AS (
    DELETE FROM events e USING log WHERE e.thread_id = log.thread_id AND e.seq <= log.seq - $2
    RETURNING e.seq, e.mode, e.value
), noted AS (
    UPDATE event_logs l SET floor = greatest(l.floor, g.seq)
    FROM (SELECT max(seq) AS seq FROM gone WHERE mode = 'v2') g
    WHERE l.thread_id = $1 AND g.seq IS NOT NULL
)
SELECT array_agg(value) FILTER (WHERE value IS NOT NULL) FROM gone;

-- name: drop_log
-- Deletes the events and the numbering of a deleted thread. Returns their values.
WITH log AS (DELETE FROM event_logs WHERE thread_id = $1 RETURNING thread_id),
gone AS (DELETE FROM events e USING log WHERE e.thread_id = log.thread_id RETURNING e.value)
SELECT array_agg(value) FILTER (WHERE value IS NOT NULL) FROM gone;
