-- name: last
-- The number of a thread's newest stored event, even if it was removed, and the id of the newest existing one.
SELECT max(
    coalesce((SELECT max(seq) FROM events WHERE thread_id = ?1), 0),
    coalesce((SELECT seq FROM event_floors WHERE thread_id = ?1), 0)
), (SELECT ms FROM events WHERE thread_id = ?1 ORDER BY seq DESC LIMIT 1),
(SELECT n FROM events WHERE thread_id = ?1 ORDER BY seq DESC LIMIT 1);

-- name: append
-- Appends one event to its thread's log.
INSERT INTO events ({event}, value, size) VALUES ({event_values}, :value, :size);

-- name: insert_value
-- Stores a value of an event.
INSERT INTO event_values (id, base, data) VALUES (?, ?, ?);

-- name: missing
-- Whether one of some values (a JSON list) is not stored.
SELECT EXISTS (SELECT 1 FROM json_each(?) w WHERE NOT EXISTS (SELECT 1 FROM event_values v WHERE v.id = w.value));

-- name: values
-- Values (a JSON list), and all that they build on.
WITH RECURSIVE needed (id) AS (
    SELECT value FROM json_each(?)
    UNION SELECT v.base FROM needed n JOIN event_values v ON v.id = n.id WHERE v.base IS NOT NULL
)
SELECT v.id, v.base, v.data FROM needed n JOIN event_values v ON v.id = n.id;

-- name: drop_values
-- Deletes those of some values (a JSON list) that have no event and that no other value builds on. Returns their bases.
DELETE FROM event_values WHERE id IN (SELECT value FROM json_each(?))
    AND NOT EXISTS (SELECT 1 FROM events e WHERE e.value = event_values.id)
    AND NOT EXISTS (SELECT 1 FROM event_values o WHERE o.base = event_values.id)
RETURNING base;

-- name: of_run
-- The events of a run after an id, oldest first.
SELECT {event}, value, size FROM events
WHERE run_id = ? AND (ms, n) > (?, ?) AND mode <> 'v2' ORDER BY ms, n LIMIT ?;

-- name: last_of_run
-- Id and number of a run's newest event.
SELECT ms, n, seq FROM events WHERE run_id = ? AND mode <> 'v2' ORDER BY ms DESC, n DESC LIMIT 1;

-- name: of_thread
-- The events of a thread after an id, oldest first.
SELECT {event}, value, size FROM events
WHERE thread_id = ? AND (ms, n) > (?, ?) AND mode <> 'v2' ORDER BY seq LIMIT ?;

-- name: of_channels
-- The v2 events of a thread between two numbers, of some methods (a JSON list) and runs, oldest first.
SELECT {event}, value, size FROM events
WHERE thread_id = ?1 AND seq > ?2 AND seq <= ?3 AND mode = 'v2'
    AND name IN (SELECT value FROM json_each(?4)) AND (?5 IS NULL OR run_id = ?5)
ORDER BY seq LIMIT ?6;

-- name: last_channel_seq
-- The number of a thread's newest v2 event, even if it was removed.
SELECT max(
    coalesce((SELECT seq FROM events WHERE thread_id = ?1 AND mode = 'v2' ORDER BY seq DESC LIMIT 1), 0),
    coalesce((SELECT seq FROM event_floors WHERE thread_id = ?1), 0)
);

-- name: floor
-- The number up to which v2 events of a thread may have been removed.
SELECT coalesce((SELECT seq FROM event_floors WHERE thread_id = ?), 0);

-- name: expire
-- Sets when the events of a finished run expire. The lifecycle and input events of a v2 run are kept for later readers.
UPDATE events SET expires_at = ?2 WHERE run_id = ?1 AND NOT (
    mode = 'v2' AND name IN ('lifecycle', 'input.requested', 'input.answered')
);

-- name: expire_log
-- Sets when the events of a deleted thread expire.
UPDATE events SET expires_at = ?2 WHERE thread_id = ?1 AND expires_at IS NULL;

-- name: raise_floor_of_run
-- Stores up to which number the v2 events of a run are about to be removed.
INSERT INTO event_floors (thread_id, seq)
SELECT thread_id, max(seq) FROM events WHERE run_id = ? AND mode = 'v2' GROUP BY thread_id
ON CONFLICT (thread_id) DO UPDATE SET seq = max(seq, excluded.seq);

-- name: delete_of_run
-- Deletes the events of a run.
DELETE FROM events WHERE run_id = ? RETURNING value;

-- name: raise_floor_of_expired
-- Stores up to which number expired v2 events are about to be removed. This is not needed for deleted threads.
INSERT INTO event_floors (thread_id, seq)
SELECT e.thread_id, max(e.seq) FROM events e INDEXED BY events_expiry
WHERE e.expires_at < ? AND e.mode = 'v2' AND EXISTS (SELECT 1 FROM threads t WHERE t.thread_id = e.thread_id)
GROUP BY e.thread_id
ON CONFLICT (thread_id) DO UPDATE SET seq = max(seq, excluded.seq);

-- name: delete_expired
-- Deletes expired events.
DELETE FROM events WHERE expires_at < ? RETURNING value;

-- name: raise_floor_of_trimmed
-- Stores up to which number the oldest v2 events of a thread are about to be removed.
INSERT INTO event_floors (thread_id, seq)
SELECT thread_id, max(seq) FROM events
WHERE thread_id = ?1 AND mode = 'v2' AND seq <= (SELECT max(seq) FROM events WHERE thread_id = ?1) - ?2
GROUP BY thread_id
ON CONFLICT (thread_id) DO UPDATE SET seq = max(seq, excluded.seq);

-- name: trim
-- Deletes all but the newest events of a thread.
DELETE FROM events WHERE thread_id = ?1 AND seq <= (SELECT max(seq) FROM events WHERE thread_id = ?1) - ?2 RETURNING value;

-- name: drop_floor
-- Deletes the numbering of a deleted thread.
DELETE FROM event_floors WHERE thread_id = ?;
