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
