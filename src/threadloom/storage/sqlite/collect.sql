-- name: bound_of_children
-- The largest position of a segment that a child sees, NULL without children.
SELECT max(upto) FROM segs WHERE parent = ?;

-- name: is_head
-- Whether a segment is a thread's head.
SELECT EXISTS (SELECT 1 FROM heads WHERE seg = ?);

-- name: delete_blobs_above
-- The values stored by a segment's checkpoints above a position.
DELETE FROM blobs WHERE pos IN (SELECT pos FROM cks INDEXED BY cks_pos WHERE seg = ? AND pos > ?);

-- name: delete_checkpoints_above
-- A segment's checkpoints above a position.
DELETE FROM cks INDEXED BY cks_pos WHERE seg = ? AND pos > ?;

-- name: delete_writes_above
-- A segment's pending writes above a position.
DELETE FROM writes INDEXED BY writes_pos WHERE seg = ? AND pos > ?;

-- name: delete_segment
-- A segment that nobody sees.
DELETE FROM segs WHERE id = ?;

-- name: delete_spans
-- The runs of a thread that begin at or after a position.
DELETE FROM run_spans INDEXED BY run_spans_thread WHERE thread_id = ? AND first >= ?;

-- name: delete_span
-- A run of a thread.
DELETE FROM run_spans WHERE run_id = ? AND thread_id = ?;

-- name: node
-- What a prune asks of a checkpoint.
SELECT pos, ns, cid, parent, refs, small, meta FROM cks WHERE pos = ?;

-- name: count_rows
-- How many checkpoints and pending writes a segment has.
SELECT (SELECT count(*) FROM cks WHERE seg = ?1) + (SELECT count(*) FROM writes WHERE seg = ?1);

-- name: write_places
-- Where the pending writes of a checkpoint in one segment are, in order of position.
SELECT task_id, idx, pos FROM writes INDEXED BY writes_id WHERE seg = ? AND cid = ? AND ns = ? AND pos <= ? ORDER BY pos;

-- name: checkpoints_between
-- A segment's checkpoints above one position and up to another.
SELECT pos, ns, cid FROM cks INDEXED BY cks_pos WHERE seg = ? AND pos > ? AND pos <= ?;

-- name: writes_between
-- A segment's pending writes above one position and up to another.
SELECT pos, ns, cid FROM writes INDEXED BY writes_pos WHERE seg = ? AND pos > ? AND pos <= ?;

-- name: checkpoints_of_run
-- A segment's checkpoints by a run between two positions.
SELECT pos, ns, cid FROM cks INDEXED BY cks_pos WHERE seg = ? AND pos BETWEEN ? AND ? AND meta ->> 'run_id' = ?;

-- name: places_of
-- Where the checkpoints with an id are, newest first.
SELECT pos, seg FROM cks INDEXED BY cks_id WHERE cid = ? AND ns = ? ORDER BY pos DESC;

-- name: refs_at
-- What a checkpoint refers to.
SELECT refs FROM cks WHERE pos = ?;

-- name: blob_place
-- The checkpoint that stored a value, and the value that it builds on.
SELECT pos, base FROM blobs WHERE id = ?;

-- name: free_blob_id
-- An id for a value stored anew: those of the storage count upwards, these downwards.
SELECT min(0, coalesce(min(id), 0)) - 1 FROM blobs;

-- name: copy_blob
-- A value once more, for another checkpoint, on another base.
INSERT INTO blobs (id, pos, type, data, base, number, size) SELECT ?, ?, type, data, ?, number, size FROM blobs WHERE id = ?;

-- name: copy_checkpoint
-- A checkpoint once more: position, segment, parent and refs are new.
INSERT INTO cks (pos, seg, ns, cid, parent, btype, body, refs, small, meta)
SELECT ?1, ?2, ns, cid, ?3, btype, body, ?4, small, meta FROM cks WHERE pos = ?5;

-- name: copy_write
-- A pending write once more.
INSERT INTO writes (pos, seg, ns, cid, task_id, idx, channel, type, data, path)
SELECT ?1, ?2, ns, cid, task_id, idx, channel, type, data, path FROM writes WHERE pos = ?3
ON CONFLICT DO NOTHING;

-- name: parent_of
-- The parent of a checkpoint.
SELECT parent FROM cks WHERE pos = ?;

-- name: shift_checkpoint
-- Another position for a checkpoint.
UPDATE cks SET pos = ?2 WHERE pos = ?1;

-- name: shift_blobs
-- The values of a checkpoint that has another position.
UPDATE blobs SET pos = ?2 WHERE pos = ?1;

-- name: shift_write
-- Another position for a pending write.
UPDATE writes SET pos = ?2 WHERE pos = ?1;
