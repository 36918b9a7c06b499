-- name: append
-- Events at the end of a thread's log. Gives the number of the first, and their ids where they had to be moved.
SELECT * FROM tl_append($1, $2, $3, $4, $5, $6, $7, $8);

-- name: of_run
-- The events of a run after an id, oldest first. A page of at most so many, and so many bytes.
SELECT {event} FROM (
    SELECT *, sum(octet_length(data)) OVER (ORDER BY ms, n) - octet_length(data) AS before FROM (
        SELECT {event} FROM events
        WHERE run_id = $1 AND (ms, n) > ($2, $3) AND mode <> 'v2' ORDER BY ms, n LIMIT $4
    ) AS counted
) AS page WHERE $5::bigint IS NULL OR before < $5 ORDER BY ms, n;

-- name: last_of_run
-- Id and number of a run's newest event.
SELECT ms, n, seq FROM events WHERE run_id = $1 AND mode <> 'v2' ORDER BY ms DESC, n DESC LIMIT 1;

-- name: of_thread
-- The events of a thread after an id, oldest first. A page of at most so many, and so many bytes.
SELECT {event} FROM (
    SELECT *, sum(octet_length(data)) OVER (ORDER BY seq) - octet_length(data) AS before FROM (
        SELECT {event} FROM events
        WHERE thread_id = $1 AND (ms, n) > ($2, $3) AND mode <> 'v2' ORDER BY seq LIMIT $4
    ) AS counted
) AS page WHERE $5::bigint IS NULL OR before < $5 ORDER BY seq;

-- name: of_channels
-- The v2 events of a thread between two numbers, of some methods and runs, oldest first. A page of at most so many, and so many bytes.
SELECT {event} FROM (
    SELECT *, sum(octet_length(data)) OVER (ORDER BY seq) - octet_length(data) AS before FROM (
        SELECT {event} FROM events
        WHERE thread_id = $1 AND seq > $2 AND seq <= $3 AND mode = 'v2'
            AND name = ANY($4::text[]) AND ($5::text IS NULL OR run_id = $5)
        ORDER BY seq LIMIT $6
    ) AS counted
) AS page WHERE $7::bigint IS NULL OR before < $7 ORDER BY seq;

-- name: last_channel_seq
-- The number of a thread's newest v2 event, also if it is gone.
SELECT greatest(
    (SELECT seq FROM events WHERE thread_id = $1 AND mode = 'v2' ORDER BY seq DESC LIMIT 1),
    (SELECT floor FROM event_logs WHERE thread_id = $1),
    0
);

-- name: floor
-- The number up to which v2 events of a thread may be gone.
SELECT floor FROM event_logs WHERE thread_id = $1;

-- name: expire
-- The events of a run that ended are kept until a moment, but what a v2 run told of its course and its questions stays: who
-- comes later must learn of it.
UPDATE events SET expires_at = $2 WHERE run_id = $1 AND NOT (
    mode = 'v2' AND name IN ('lifecycle', 'input.requested', 'input.answered')
);

-- name: expire_log
-- The events of a thread that is gone are kept until a moment. Its row of `event_logs`, which numbers them, goes with the last of
-- them; at once when there is none.
WITH kept AS (
    UPDATE events SET expires_at = $2 WHERE thread_id = $1 AND expires_at IS NULL
)
DELETE FROM event_logs WHERE thread_id = $1 AND NOT EXISTS (SELECT 1 FROM events WHERE thread_id = $1);

-- name: delete_of_run
-- Forgets the events of a run, and notes up to where v2 events are gone.
WITH log AS (
    SELECT thread_id FROM event_logs WHERE thread_id = (SELECT thread_id FROM events WHERE run_id = $1 LIMIT 1)
    FOR NO KEY UPDATE
), gone AS (
    DELETE FROM events e USING log WHERE e.thread_id = log.thread_id AND e.run_id = $1 RETURNING e.thread_id, e.seq, e.mode
)
UPDATE event_logs l SET floor = greatest(l.floor, g.seq)
FROM (SELECT thread_id, max(seq) AS seq FROM gone WHERE mode = 'v2' GROUP BY thread_id) g
WHERE l.thread_id = g.thread_id;

-- name: delete_expired
-- Forgets the events whose time is over, and notes up to where v2 events are gone. Gives how many, and of which threads. The logs
-- of threads that are just being written to are left for the next time: nobody waits for another in here.
WITH logs AS (
    SELECT thread_id FROM event_logs
    WHERE thread_id IN (SELECT thread_id FROM events WHERE expires_at < $1)
    FOR NO KEY UPDATE SKIP LOCKED
), gone AS (
    DELETE FROM events e USING logs WHERE e.thread_id = logs.thread_id AND e.expires_at < $1
    RETURNING e.thread_id, e.seq, e.mode
), noted AS (
    UPDATE event_logs l SET floor = greatest(l.floor, g.seq)
    FROM (SELECT thread_id, max(seq) AS seq FROM gone WHERE mode = 'v2' GROUP BY thread_id) g
    WHERE l.thread_id = g.thread_id
)
SELECT count(*), array_agg(DISTINCT thread_id) FROM gone;

-- name: drop_dead_logs
-- Forgets the numbers of threads that are gone and of which no event is left. `delete_expired` has locked these logs; this is a
-- statement of its own, so that it sees what was stored before.
DELETE FROM event_logs l WHERE l.thread_id = ANY($1::text[])
    AND NOT EXISTS (SELECT 1 FROM threads t WHERE t.thread_id = l.thread_id)
    AND NOT EXISTS (SELECT 1 FROM events e WHERE e.thread_id = l.thread_id);

-- name: trim
-- Keeps the newest events of a thread, and notes up to where v2 events are gone.
WITH log AS (
    SELECT thread_id, seq FROM event_logs WHERE thread_id = $1 FOR NO KEY UPDATE
), gone AS (
    DELETE FROM events e USING log WHERE e.thread_id = log.thread_id AND e.seq <= log.seq - $2 RETURNING e.seq, e.mode
)
UPDATE event_logs l SET floor = greatest(l.floor, g.seq)
FROM (SELECT max(seq) AS seq FROM gone WHERE mode = 'v2') g
WHERE l.thread_id = $1 AND g.seq IS NOT NULL;

-- name: drop_log
-- Forgets the events and the numbers of a thread that is gone.
WITH log AS (DELETE FROM event_logs WHERE thread_id = $1 RETURNING thread_id)
DELETE FROM events e USING log WHERE e.thread_id = log.thread_id;
