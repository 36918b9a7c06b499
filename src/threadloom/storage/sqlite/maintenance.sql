-- Queries of `threadloom db`.

-- name: probe
-- A write without effect: fences only have to grow.
UPDATE fences SET next = next + 1;

-- name: is_used
-- Whether there are tables of any application, or a schema version set by one.
SELECT EXISTS (SELECT 1 FROM sqlite_master WHERE type = 'table') OR (SELECT user_version FROM pragma_user_version) <> 0;

-- name: lost_checkpoints_of_no_segment
-- Checkpoints that no thread can reach.
SELECT count(*) FROM checkpoints c WHERE NOT EXISTS (SELECT 1 FROM segments s WHERE s.id = c.seg);

-- name: lost_pending_writes_of_no_segment
-- Pending writes that no thread can reach.
SELECT count(*) FROM writes w WHERE NOT EXISTS (SELECT 1 FROM segments s WHERE s.id = w.seg);

-- name: lost_values_that_a_checkpoint_refers_to
-- Channel values that do not exist although a checkpoint needs them.
SELECT count(*) FROM checkpoints c, json_each(CAST(c.refs AS TEXT)) r WHERE NOT EXISTS (SELECT 1 FROM blobs b WHERE b.id = r.value);
