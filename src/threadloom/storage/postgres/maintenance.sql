-- Queries of `threadloom db`.

-- name: lost_indexes_that_are_not_valid
-- Indexes that the database does not use, because their creation was never finished.
SELECT count(*) FROM pg_index i JOIN pg_class c ON c.oid = i.indrelid
WHERE c.relnamespace = 'threadloom'::regnamespace AND NOT i.indisvalid;

-- name: lost_checkpoints_of_no_segment
-- Checkpoints that no thread can reach.
SELECT count(*) FROM checkpoints c WHERE NOT EXISTS (SELECT 1 FROM segments s WHERE s.id = c.seg);

-- name: lost_pending_writes_of_no_segment
-- Pending writes that no thread can reach.
SELECT count(*) FROM writes w WHERE NOT EXISTS (SELECT 1 FROM segments s WHERE s.id = w.seg);

-- name: lost_values_that_a_checkpoint_refers_to
-- Channel values that do not exist although a checkpoint needs them.
SELECT count(*) FROM checkpoints c, unnest(c.blobs) AS r (id) WHERE NOT EXISTS (SELECT 1 FROM blobs b WHERE b.id = r.id);
