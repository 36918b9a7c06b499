-- Queries of `threadloom db` that are the same on all storages.

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
