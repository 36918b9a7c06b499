-- Reads the tables of `langgraph-checkpoint-postgres`.

-- name: has_paths
-- Whether the table has the column `task_path`, which exists since version 2.0.11.
SELECT EXISTS (
    SELECT 1 FROM pg_attribute
    WHERE attrelid = to_regclass('checkpoint_writes') AND attname = 'task_path' AND NOT attisdropped);

-- name: threads
-- All threads, oldest first.
SELECT thread_id::text FROM checkpoints GROUP BY thread_id ORDER BY min(checkpoint_id::text COLLATE "C");

-- name: count
-- The number of checkpoints.
SELECT count(*) FROM checkpoints;

-- name: checkpoints
-- The checkpoints of a thread in the order of their ids.
SELECT checkpoint_ns, checkpoint_id::text, parent_checkpoint_id::text, checkpoint::text, metadata::text
FROM checkpoints WHERE thread_id::text = $1 ORDER BY checkpoint_id::text COLLATE "C", checkpoint_ns COLLATE "C";

-- name: blobs
-- The values of a thread's channels.
SELECT checkpoint_ns, channel, version, type, blob FROM checkpoint_blobs WHERE thread_id::text = $1;

-- name: writes
-- The pending writes of a thread, in the order in which they apply to their checkpoint.
SELECT checkpoint_ns, checkpoint_id::text, task_id::text, idx, channel, type, blob, task_path
FROM checkpoint_writes WHERE thread_id::text = $1
ORDER BY task_path COLLATE "C", task_id::text COLLATE "C", idx;
