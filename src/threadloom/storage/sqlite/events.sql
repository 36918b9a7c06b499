-- name: last
-- The number of a thread's newest stored event, also if it is gone, and the id of the newest that is there.
SELECT max(
    coalesce((SELECT max(seq) FROM events WHERE thread_id = ?1), 0),
    coalesce((SELECT seq FROM event_floors WHERE thread_id = ?1), 0)
), (SELECT ms FROM events WHERE thread_id = ?1 ORDER BY seq DESC LIMIT 1),
(SELECT n FROM events WHERE thread_id = ?1 ORDER BY seq DESC LIMIT 1);

-- name: append
-- One event at its place in its thread's log.
INSERT INTO events ({event}) VALUES ({event_values});

-- name: of_run
-- The events of a run after an id, oldest first.
SELECT {event} FROM events
WHERE run_id = ? AND (ms, n) > (?, ?) AND mode <> 'v2' ORDER BY ms, n LIMIT ?;

-- name: last_of_run
-- Id and number of a run's newest event.
SELECT ms, n, seq FROM events WHERE run_id = ? AND mode <> 'v2' ORDER BY ms DESC, n DESC LIMIT 1;

-- name: of_thread
-- The events of a thread after an id, oldest first.
SELECT {event} FROM events
WHERE thread_id = ? AND (ms, n) > (?, ?) AND mode <> 'v2' ORDER BY seq LIMIT ?;

-- name: of_channels
-- The v2 events of a thread between two numbers, of some methods (a JSON list) and runs, oldest first.
SELECT {event} FROM events
WHERE thread_id = ?1 AND seq > ?2 AND seq <= ?3 AND mode = 'v2'
    AND name IN (SELECT value FROM json_each(?4)) AND (?5 IS NULL OR run_id = ?5)
ORDER BY seq LIMIT ?6;

-- name: last_channel_seq
-- The number of a thread's newest v2 event, also if it is gone.
SELECT max(
    coalesce((SELECT seq FROM events WHERE thread_id = ?1 AND mode = 'v2' ORDER BY seq DESC LIMIT 1), 0),
    coalesce((SELECT seq FROM event_floors WHERE thread_id = ?1), 0)
);

-- name: floor
-- The number up to which v2 events of a thread may be gone.
SELECT coalesce((SELECT seq FROM event_floors WHERE thread_id = ?), 0);

-- name: expire
-- The events of a run that ended are kept until a moment, but what a v2 run told of its course and its questions stays: who
-- comes later must learn of it.
UPDATE events SET expires_at = ?2 WHERE run_id = ?1 AND NOT (
    mode = 'v2' AND name IN ('lifecycle', 'input.requested', 'input.answered')
);

-- name: expire_log
-- The events of a thread that is gone are kept until a moment.
UPDATE events SET expires_at = ?2 WHERE thread_id = ?1 AND expires_at IS NULL;

-- name: raise_floor_of_run
-- Notes that the v2 events of a run are about to go.
INSERT INTO event_floors (thread_id, seq)
SELECT thread_id, max(seq) FROM events WHERE run_id = ? AND mode = 'v2' GROUP BY thread_id
ON CONFLICT (thread_id) DO UPDATE SET seq = max(seq, excluded.seq);

-- name: delete_of_run
-- Forgets the events of a run.
DELETE FROM events WHERE run_id = ?;

-- name: raise_floor_of_expired
-- Notes that v2 events whose time is over are about to go. Nobody asks for those of a thread that is gone.
INSERT INTO event_floors (thread_id, seq)
SELECT e.thread_id, max(e.seq) FROM events e INDEXED BY events_expiry
WHERE e.expires_at < ? AND e.mode = 'v2' AND EXISTS (SELECT 1 FROM threads t WHERE t.thread_id = e.thread_id)
GROUP BY e.thread_id
ON CONFLICT (thread_id) DO UPDATE SET seq = max(seq, excluded.seq);

-- name: delete_expired
-- Forgets the events whose time is over.
DELETE FROM events WHERE expires_at < ?;

-- name: raise_floor_of_trimmed
-- Notes that the oldest v2 events of a thread are about to go.
INSERT INTO event_floors (thread_id, seq)
SELECT thread_id, max(seq) FROM events
WHERE thread_id = ?1 AND mode = 'v2' AND seq <= (SELECT max(seq) FROM events WHERE thread_id = ?1) - ?2
GROUP BY thread_id
ON CONFLICT (thread_id) DO UPDATE SET seq = max(seq, excluded.seq);

-- name: trim
-- Keeps the newest events of a thread.
DELETE FROM events WHERE thread_id = ?1 AND seq <= (SELECT max(seq) FROM events WHERE thread_id = ?1) - ?2;

-- name: drop_floor
-- Forgets the numbers of a thread that is gone.
DELETE FROM event_floors WHERE thread_id = ?;
