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

-- name: lost_values_that_a_value_builds_on
-- Channel values that do not exist although a later version is stored as instructions over them.
SELECT count(*) FROM blobs v WHERE v.base IS NOT NULL AND NOT EXISTS (SELECT 1 FROM blobs b WHERE b.id = v.base);

-- name: lost_runs_of_no_thread
-- Runs whose thread record does not exist.
SELECT count(*) FROM runs r WHERE NOT EXISTS (SELECT 1 FROM threads t WHERE t.thread_id = r.thread_id);

-- name: lost_copies_of_no_thread_that_is_known
-- Copies that have no parent in their tree.
SELECT count(*) FROM forks f WHERE f.parent <> f.root AND NOT EXISTS (SELECT 1 FROM forks p WHERE p.child = f.parent);

-- name: count_threads
-- Threads.
SELECT count(*) FROM threads;

-- name: count_checkpoints
-- Checkpoints.
SELECT count(*) FROM checkpoints;

-- name: count_runs
-- Runs.
SELECT count(*) FROM runs;

-- name: count_assistants
-- Assistants.
SELECT count(*) FROM assistants;

-- name: count_store_items
-- Items of the store.
SELECT count(*) FROM items;
