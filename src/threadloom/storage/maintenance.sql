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

-- name: lost_former_heads_of_no_thread
-- Former heads whose thread record does not exist.
SELECT count(*) FROM former_heads f WHERE NOT EXISTS (SELECT 1 FROM threads t WHERE t.thread_id = f.thread_id);

-- name: lost_former_heads_that_point_nowhere
-- Former heads without a segment, or whose newest checkpoint they do not see.
WITH RECURSIVE chain (head, seg, bound) AS (
    SELECT f.head, h.seg, 4611686018427387904 FROM former_heads f JOIN heads h ON h.thread_id = f.head
    UNION ALL
    SELECT c.head, s.parent, s.upto FROM chain c JOIN segments s ON s.id = c.seg WHERE s.parent IS NOT NULL
)
SELECT count(*) FROM former_heads f
WHERE NOT EXISTS (SELECT 1 FROM chain c JOIN segments s ON s.id = c.seg WHERE c.head = f.head)
    OR f.checkpoint_id IS NOT NULL AND NOT EXISTS (
        SELECT 1 FROM chain c JOIN checkpoints k ON k.seg = c.seg AND k.pos <= c.bound
        WHERE c.head = f.head AND k.checkpoint_id = f.checkpoint_id AND k.namespace = '');

-- name: lost_tags_that_point_nowhere
-- Tags of a checkpoint that neither their thread nor a former head of it sees.
WITH RECURSIVE chain (thread_id, seg, bound) AS (
    SELECT t.thread_id, h.seg, 4611686018427387904 FROM threads t JOIN heads h ON h.thread_id = t.thread_id
    WHERE EXISTS (SELECT 1 FROM tags g WHERE g.thread_id = t.thread_id)
    UNION ALL
    SELECT f.thread_id, h.seg, 4611686018427387904 FROM former_heads f JOIN heads h ON h.thread_id = f.head
    WHERE EXISTS (SELECT 1 FROM tags g WHERE g.thread_id = f.thread_id)
    UNION ALL
    SELECT c.thread_id, s.parent, s.upto FROM chain c JOIN segments s ON s.id = c.seg WHERE s.parent IS NOT NULL
)
SELECT count(*) FROM tags g WHERE NOT EXISTS (
    SELECT 1 FROM chain c JOIN checkpoints k ON k.seg = c.seg AND k.pos <= c.bound
    WHERE c.thread_id = g.thread_id AND k.checkpoint_id = g.checkpoint_id AND k.namespace = '');

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
