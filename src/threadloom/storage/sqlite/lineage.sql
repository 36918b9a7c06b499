-- name: head
-- A thread's head segment and era.
SELECT seg, era FROM heads WHERE thread_id = ?;

-- name: head_fenced
-- The same, if a run still holds its fence. No row: it does not. NULLs: the thread has no head yet.
SELECT h.seg, h.era FROM runs r LEFT JOIN heads h ON h.thread_id = ?1
WHERE r.run_id = ?2 AND r.status = 'running' AND r.fence = ?3;

-- name: edge
-- A segment's parent, the bound up to which the parent is visible, and the position at which a branch leaves.
SELECT parent, upto, branch_at FROM segments WHERE id = ?;

-- name: last_position
-- The largest number that was ever used and is still known.
SELECT max(
    (SELECT max(next) - 1 FROM positions),
    (SELECT coalesce(max(pos), 0) FROM checkpoints),
    (SELECT coalesce(max(pos), 0) FROM writes),
    (SELECT coalesce(max(id), 0) FROM segments),
    (SELECT coalesce(max(upto), 0) FROM segments),
    (SELECT coalesce(max(era), 0) FROM heads)
);

-- name: insert_segment
-- A new segment.
INSERT INTO segments (id, parent, upto, branch_at) VALUES (?, ?, ?, ?);

-- name: insert_head
-- A thread's first head.
INSERT INTO heads (thread_id, seg, era) VALUES (?, ?, ?);

-- name: insert_checkpoint
-- A checkpoint.
INSERT INTO checkpoints (pos, seg, namespace, checkpoint_id, parent, digests, body_type, body, refs, small, meta, messages)
VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?);

-- name: insert_blob
-- A channel value.
INSERT INTO blobs (id, pos, type, data, base, number, size) VALUES (?, ?, ?, ?, ?, ?, ?);

-- name: insert_write
-- A pending write; an ordinary one that exists is not stored again.
INSERT INTO writes (pos, seg, namespace, checkpoint_id, task_id, idx, channel, type, data, path, digest)
VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?)
ON CONFLICT DO NOTHING;

-- name: insert_span
-- Stores the first position of a run on a thread. Later rows of the run do not change it.
INSERT INTO run_spans (run_id, thread_id, first) VALUES (?, ?, ?) ON CONFLICT DO NOTHING;

-- name: latest_of_head
-- Head, era and the newest checkpoint of a namespace in the head segment; NULLs when the head segment has none.
SELECT h.seg, h.era, c.pos, c.seg, c.namespace, c.checkpoint_id, c.parent, c.body_type, c.body, c.refs, c.small, c.meta
FROM heads h LEFT JOIN checkpoints c
  ON c.pos = (SELECT pos FROM checkpoints INDEXED BY checkpoints_seg WHERE seg = h.seg AND namespace = ?2 ORDER BY pos DESC LIMIT 1)
WHERE h.thread_id = ?1;

-- name: latest_of_segment
-- The newest checkpoint of a namespace that a segment has up to a bound.
SELECT pos, seg, namespace, checkpoint_id, parent, body_type, body, refs, small, meta
FROM checkpoints c INDEXED BY checkpoints_seg WHERE seg = ? AND namespace = ? AND pos <= ? ORDER BY pos DESC LIMIT 1;

-- name: by_id
-- Head, era and all checkpoints with an id, whichever threads see them, newest first.
SELECT h.seg, h.era, c.pos, c.seg, c.namespace, c.checkpoint_id, c.parent, c.body_type, c.body, c.refs, c.small, c.meta
FROM heads h LEFT JOIN checkpoints c ON c.checkpoint_id = ?3 AND c.namespace = ?2
WHERE h.thread_id = ?1 ORDER BY c.pos DESC;

-- name: by_position
-- A checkpoint by position, and whether there is a later one with the same id.
SELECT EXISTS (SELECT 1 FROM checkpoints n INDEXED BY checkpoints_id WHERE n.checkpoint_id = c.checkpoint_id AND n.namespace = c.namespace AND n.pos > c.pos),
    pos, seg, namespace, checkpoint_id, parent, body_type, body, refs, small, meta
FROM checkpoints c WHERE pos = ?;

-- name: places_of_id
-- The positions of the checkpoints with an id, in any namespace, newest first.
SELECT pos, seg, namespace FROM checkpoints WHERE checkpoint_id = ? ORDER BY pos DESC;

-- name: steps_of_segment
-- The root checkpoints that a segment has up to a bound, newest first, without their content.
SELECT pos, checkpoint_id, parent
FROM checkpoints INDEXED BY checkpoints_seg WHERE seg = ? AND namespace = '' AND pos <= ? ORDER BY pos DESC LIMIT ?;

-- name: rows_of_segment
-- The positions of a segment's rows up to a bound, newest first.
SELECT pos FROM checkpoints INDEXED BY cks_pos WHERE seg = ? AND pos <= ? ORDER BY pos DESC;

-- name: digests_at
-- The recorded digests of a checkpoint by position, and whether there is a later one with the same id.
SELECT EXISTS (SELECT 1 FROM checkpoints n INDEXED BY checkpoints_id WHERE n.checkpoint_id = c.checkpoint_id AND n.namespace = c.namespace AND n.pos > c.pos),
    namespace, checkpoint_id, parent, digests
FROM checkpoints c WHERE pos = ?;

-- name: write_digests
-- The recorded digests of the pending writes of a checkpoint in one segment, in order of position.
SELECT task_id, idx, digest, path
FROM writes INDEXED BY writes_id WHERE seg = ? AND checkpoint_id = ? AND namespace = ? AND pos <= ? ORDER BY pos;

-- name: writes_of
-- Pending writes of a checkpoint in one segment, in order of position.
SELECT task_id, idx, channel, type, data, path, pos
FROM writes INDEXED BY writes_id WHERE seg = ? AND checkpoint_id = ? AND namespace = ? AND pos <= ? ORDER BY pos;

-- name: view
-- Head and era of a thread, and the position of the newest root checkpoint in its head segment.
SELECT h.seg, h.era, coalesce((SELECT max(pos) FROM checkpoints INDEXED BY checkpoints_seg WHERE seg = h.seg AND namespace = ''), 0)
FROM heads h WHERE h.thread_id = ?;

-- name: roots_of_segment
-- What the map of a thread needs of the root checkpoints of a segment above a position and up to a bound, newest first.
SELECT pos, checkpoint_id, parent, meta, messages
FROM checkpoints INDEXED BY checkpoints_seg WHERE seg = ? AND namespace = '' AND pos > ? AND pos <= ? ORDER BY pos DESC LIMIT ?;

-- name: has_checkpoint
-- Whether a segment has a checkpoint up to a bound.
SELECT EXISTS (SELECT 1 FROM checkpoints INDEXED BY cks_pos WHERE seg = ? AND pos <= ?);

-- name: span
-- The first position of a run on a thread.
SELECT first FROM run_spans WHERE run_id = ? AND thread_id = ?;

-- name: threads_of_run
-- The threads that a run wrote on.
SELECT thread_id FROM run_spans WHERE run_id = ? ORDER BY thread_id;

-- name: run_wrote
-- Whether a segment has a root checkpoint of a run between two positions.
SELECT EXISTS (
    SELECT 1 FROM checkpoints INDEXED BY checkpoints_seg WHERE seg = ? AND namespace = '' AND pos BETWEEN ? AND ? AND meta ->> 'run_id' = ?);

-- name: heads
-- Every thread that has a history.
SELECT thread_id FROM heads WHERE thread_id NOT IN (SELECT head FROM former_heads);

-- name: usage_checkpoints
-- Number, bytes and inherited bytes of the checkpoints of a chain. ?1: the chain as JSON, ?2: its floor.
WITH view (seg, bound) AS (SELECT value ->> 0, value ->> 1 FROM json_each(?1)),
seen AS (
    SELECT max(c.pos) AS pos, length(c.body) + length(c.meta) AS bytes
    FROM view CROSS JOIN checkpoints c ON c.seg = view.seg AND c.pos <= view.bound GROUP BY c.namespace, c.checkpoint_id
)
SELECT count(*), coalesce(sum(bytes), 0), coalesce(sum(bytes) FILTER (WHERE pos <= ?2), 0) FROM seen;

-- name: usage_writes
-- Number, bytes and inherited bytes of the valid pending writes of a chain. Parameters as for `usage_checkpoints`.
WITH view (seg, bound) AS (SELECT value ->> 0, value ->> 1 FROM json_each(?1)),
seen AS (
    SELECT max(CASE WHEN w.idx < 0 THEN w.pos ELSE -w.pos END), w.pos AS pos, length(w.data) AS bytes
    FROM view CROSS JOIN writes w ON w.seg = view.seg AND w.pos <= view.bound GROUP BY w.namespace, w.checkpoint_id, w.task_id, w.idx
)
SELECT count(*), coalesce(sum(bytes), 0), coalesce(sum(bytes) FILTER (WHERE pos <= ?2), 0) FROM seen;

-- name: usage_channels
-- Of each channel the number of values, their bytes, the inherited bytes and the stored bytes: blobs, and inline values in rows.
WITH view (seg, bound) AS (SELECT value ->> 0, value ->> 1 FROM json_each(?1)),
seen AS MATERIALIZED (
    SELECT max(c.pos) AS pos, c.refs AS refs, c.small AS small
    FROM view CROSS JOIN checkpoints c ON c.seg = view.seg AND c.pos <= view.bound GROUP BY c.namespace, c.checkpoint_id
),
stored (channel, bytes, pos, stored) AS (
    SELECT r.key, b.size, b.pos, length(b.data)
    FROM (SELECT DISTINCT j.key AS key, j.value AS id FROM seen, json_each(seen.refs) j) r JOIN blobs b ON b.id = r.id
    UNION ALL
    SELECT j.key, j.value, seen.pos, j.value FROM seen, json_each(seen.small) j WHERE j.value > 0
)
SELECT channel, count(*), sum(bytes), coalesce(sum(bytes) FILTER (WHERE pos <= ?2), 0), sum(stored) FROM stored GROUP BY channel;
