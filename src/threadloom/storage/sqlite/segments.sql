-- name: tip
-- A thread's head segment with its edge, whether it has any row, and the id of its own newest root checkpoint.
SELECT s.id, s.parent, s.upto, s.branch_at,
    EXISTS (SELECT 1 FROM checkpoints INDEXED BY cks_pos WHERE seg = s.id)
        OR EXISTS (SELECT 1 FROM writes INDEXED BY writes_pos WHERE seg = s.id),
    (SELECT checkpoint_id FROM checkpoints INDEXED BY checkpoints_seg WHERE seg = s.id AND namespace = '' ORDER BY pos DESC LIMIT 1)
FROM heads h JOIN segments s ON s.id = h.seg WHERE h.thread_id = ?;

-- name: newest_root
-- The id of the newest root checkpoint that a segment has up to a bound.
SELECT checkpoint_id FROM checkpoints INDEXED BY checkpoints_seg WHERE seg = ? AND namespace = '' AND pos <= ? ORDER BY pos DESC LIMIT 1;

-- name: insert_segments
-- New segments with one edge, for a list of threads, with ids from ?1 on.
INSERT INTO segments (id, parent, upto, branch_at) SELECT ?1 + key, ?2, ?3, ?4 FROM json_each(?5);

-- name: insert_heads
-- Makes them the heads of those threads that have none.
INSERT INTO heads (thread_id, seg, era) SELECT value, ?1 + key, ?1 + key FROM json_each(?2) WHERE true ON CONFLICT DO NOTHING;

-- name: delete_head
-- Deletes the head of a thread. Returns its segment, and whether the thread has tags or former heads.
DELETE FROM heads WHERE thread_id = ?1
RETURNING seg, EXISTS (SELECT 1 FROM tags WHERE thread_id = ?1) OR EXISTS (SELECT 1 FROM former_heads WHERE thread_id = ?1);

-- name: bound_of_children
-- The largest position of a segment that a child sees, 0 without children.
SELECT coalesce(max(upto), 0) FROM segments WHERE parent = ?;

-- name: delete_span
-- Deletes the span of a run on a thread. Returns its first position.
DELETE FROM run_spans WHERE run_id = ? AND thread_id = ? RETURNING first;

-- name: node
-- The columns that a prune needs of a checkpoint.
SELECT pos, namespace, checkpoint_id, parent, refs, small, meta FROM checkpoints WHERE pos = ?;

-- name: checkpoints_of_run
-- A segment's checkpoints of a run between two positions.
SELECT pos, namespace, checkpoint_id FROM checkpoints INDEXED BY cks_pos WHERE seg = ? AND pos BETWEEN ? AND ? AND meta ->> 'run_id' = ?;

-- name: rows_between
-- A segment's checkpoints and pending writes above one position and up to another.
SELECT pos, namespace, checkpoint_id, true FROM checkpoints INDEXED BY cks_pos WHERE seg = ?1 AND pos > ?2 AND pos <= ?3
UNION ALL SELECT pos, namespace, checkpoint_id, false FROM writes INDEXED BY writes_pos WHERE seg = ?1 AND pos > ?2 AND pos <= ?3;

-- name: count_rows
-- How many checkpoints and pending writes a segment has up to a bound. Counting stops at ?3.
SELECT count(*) FROM (
    SELECT 1 FROM checkpoints INDEXED BY cks_pos WHERE seg = ?1 AND pos <= ?2
    UNION ALL SELECT 1 FROM writes INDEXED BY writes_pos WHERE seg = ?1 AND pos <= ?2
    LIMIT ?3);

-- name: copy_checkpoint
-- Copies a checkpoint: position, segment and refs are new, and its parent is left out on request.
INSERT INTO checkpoints (pos, seg, namespace, checkpoint_id, parent, digests, body_type, body, refs, small, meta, messages)
SELECT ?1, ?2, namespace, checkpoint_id, CASE WHEN ?5 THEN NULL ELSE parent END, digests, body_type, body, ?3, small, meta, messages FROM checkpoints WHERE pos = ?4;

-- name: note_position
-- Before rows are deleted: records that positions below are used.
UPDATE positions SET next = max(next, ?);

-- name: move_head
-- Sets the head of a thread, or the same head with a new era after rows were removed.
INSERT INTO heads (thread_id, seg, era) VALUES (?1, ?2, ?3) ON CONFLICT (thread_id) DO UPDATE SET seg = excluded.seg, era = excluded.era;

-- name: former_heads
-- The former heads of a thread, the last one first.
SELECT head, checkpoint_id, moved_at, reason, record FROM former_heads WHERE thread_id = ? ORDER BY number DESC;

-- name: insert_former
-- A former head of a thread.
INSERT INTO former_heads (number, head, thread_id, checkpoint_id, moved_at, reason, record) VALUES (?, ?, ?, ?, ?, ?, ?);

-- name: replace_former
-- What a former head is, after it was exchanged for the head of its thread.
UPDATE former_heads SET checkpoint_id = ?2, moved_at = ?3, reason = ?4, record = ?5 WHERE head = ?1;

-- name: delete_former
-- Deletes a former head.
DELETE FROM former_heads WHERE head = ?;

-- name: delete_formers
-- Deletes the former heads of a thread. Returns their names.
DELETE FROM former_heads WHERE thread_id = ? RETURNING head;

-- name: tags
-- The tags of a thread, by name.
SELECT name, checkpoint_id, created_at, updated_at FROM tags WHERE thread_id = ? ORDER BY name;

-- name: tag
-- One tag of a thread.
SELECT name, checkpoint_id, created_at, updated_at FROM tags WHERE thread_id = ? AND name = ?;

-- name: set_tag
-- A tag, new or moved.
INSERT INTO tags (thread_id, name, checkpoint_id, created_at, updated_at) VALUES (?, ?, ?, ?, ?)
ON CONFLICT (thread_id, name) DO UPDATE SET checkpoint_id = excluded.checkpoint_id, updated_at = excluded.updated_at;

-- name: delete_tag
-- Deletes a tag.
DELETE FROM tags WHERE thread_id = ? AND name = ?;

-- name: delete_tags
-- Deletes the tags of a thread.
DELETE FROM tags WHERE thread_id = ?;

-- name: continue_on
-- Sets the head of a thread, from whose view nothing is removed.
UPDATE heads SET seg = ?2 WHERE thread_id = ?1;

-- name: next_of_namespace
-- The position of the first checkpoint of a namespace that a segment has after a position and up to a bound.
SELECT min(pos) FROM checkpoints INDEXED BY checkpoints_seg WHERE seg = ? AND namespace = ? AND pos > ? AND pos <= ?;

-- name: newest_of_namespaces
-- The newest position of each namespace in a segment up to a bound.
SELECT namespace, max(pos) FROM checkpoints INDEXED BY checkpoints_seg WHERE seg = ? AND pos <= ? GROUP BY namespace;

-- name: newest_of_namespace
-- The newest position of a namespace in a segment up to a bound.
SELECT pos FROM checkpoints INDEXED BY checkpoints_seg WHERE seg = ? AND namespace = ? AND pos <= ? ORDER BY pos DESC LIMIT 1;

-- name: newest_inner
-- The newest position of each namespace of a subgraph in a segment up to a bound, if it is above ?3 or the namespace has no task.
SELECT namespace, max(pos) FROM checkpoints INDEXED BY checkpoints_seg WHERE seg = ?1 AND namespace > '' AND pos <= ?2
GROUP BY namespace HAVING max(pos) > ?3 OR instr(namespace, ':') = 0;

-- name: spans_of_thread
-- The runs whose first row on a thread is at or after a position.
SELECT run_id, first FROM run_spans INDEXED BY run_spans_thread WHERE thread_id = ? AND first >= ?;

-- name: is_head
-- Whether a segment is a thread's head.
SELECT EXISTS (SELECT 1 FROM heads WHERE seg = ?);

-- name: delete_blobs_above
-- Deletes the values stored by a segment's checkpoints above a position.
DELETE FROM blobs WHERE pos IN (SELECT pos FROM checkpoints INDEXED BY cks_pos WHERE seg = ? AND pos > ?);

-- name: delete_checkpoints_above
-- Deletes a segment's checkpoints above a position.
DELETE FROM checkpoints INDEXED BY cks_pos WHERE seg = ? AND pos > ?;

-- name: delete_writes_above
-- Deletes a segment's pending writes above a position.
DELETE FROM writes INDEXED BY writes_pos WHERE seg = ? AND pos > ?;

-- name: delete_segment
-- Deletes a segment that no thread sees.
DELETE FROM segments WHERE id = ?;

-- name: delete_spans
-- Deletes the spans of runs whose first row on a thread is at or after a position.
DELETE FROM run_spans INDEXED BY run_spans_thread WHERE thread_id = ? AND first >= ?;

-- name: write_places
-- The positions of the pending writes of a checkpoint in one segment, in order.
SELECT task_id, idx, pos FROM writes INDEXED BY writes_id WHERE seg = ? AND checkpoint_id = ? AND namespace = ? AND pos <= ? ORDER BY pos;

-- name: refs_at
-- The refs of a checkpoint.
SELECT refs FROM checkpoints WHERE pos = ?;

-- name: blob_place
-- The checkpoint that stored a value, and the value that it builds on.
SELECT pos, base FROM blobs WHERE id = ?;

-- name: lowest_blob
-- The lowest id of a value, 0 if none is below.
SELECT min(0, coalesce(min(id), 0)) FROM blobs;

-- name: copy_blob
-- Copies a value for another checkpoint, on another base.
INSERT INTO blobs (id, pos, type, base, number, size, data) SELECT ?, ?, type, ?, number, size, data FROM blobs WHERE id = ?;

-- name: copy_write
-- Copies a pending write.
INSERT INTO writes (pos, seg, namespace, checkpoint_id, task_id, idx, channel, type, data, path, digest)
SELECT ?1, ?2, namespace, checkpoint_id, task_id, idx, channel, type, data, path, digest FROM writes WHERE pos = ?3
ON CONFLICT DO NOTHING;

-- name: shift_checkpoint
-- Sets the position of a checkpoint.
UPDATE checkpoints SET pos = ?2 WHERE pos = ?1;

-- name: shift_blobs
-- Sets the position of the values of a checkpoint.
UPDATE blobs SET pos = ?2 WHERE pos = ?1;

-- name: shift_write
-- Sets the position of a pending write.
UPDATE writes SET pos = ?2 WHERE pos = ?1;
