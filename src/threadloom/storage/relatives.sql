-- Trees of copies: the same on all storages. A row is a `Relative`.

-- name: ancestors
-- A thread and the threads that it descends from by copying, nearest first; at most :most.
WITH RECURSIVE up (seq, level) AS (
    SELECT t.seq, 0 FROM threads t WHERE t.thread_id = :thread_id
    UNION ALL SELECT f.parent, up.level + 1 FROM up JOIN forks f ON f.child = up.seq
)
SELECT c.seq, f.parent, coalesce(t.thread_id, f.thread_id, (SELECT x.root_id FROM forks x WHERE x.parent = c.seq LIMIT 1)),
    f.checkpoint_id, f.at, t.status, coalesce(t.updated_at, 0), t.metadata
FROM up c LEFT JOIN forks f ON f.child = c.seq LEFT JOIN threads t ON t.seq = c.seq
ORDER BY c.level LIMIT :most;

-- name: family
-- The tree of copies that a thread belongs to: its ancestors, what descends from it, then all others; at most :most of each.
WITH RECURSIVE own (seq, root) AS (
    SELECT t.seq, coalesce(f.root, t.seq) FROM threads t LEFT JOIN forks f ON f.child = t.seq WHERE t.thread_id = :thread_id
),
up (seq) AS (
    SELECT seq FROM own
    UNION ALL SELECT f.parent FROM up JOIN forks f ON f.child = up.seq
),
below (seq) AS (
    SELECT seq FROM own
    UNION ALL SELECT f.child FROM below JOIN forks f ON f.parent = below.seq
),
everyone (seq) AS (
    SELECT root FROM own
    UNION ALL SELECT f.child FROM everyone JOIN forks f ON f.parent = everyone.seq
),
chosen AS (
    SELECT seq, min(part) AS part
    FROM (
        SELECT * FROM (SELECT seq, 1 AS part FROM up LIMIT :most) a
        UNION ALL SELECT * FROM (SELECT seq, 2 AS part FROM below LIMIT :most) b
        UNION ALL SELECT * FROM (SELECT seq, 3 AS part FROM everyone LIMIT :most) c
    ) found
    GROUP BY seq ORDER BY min(part), seq LIMIT :most
)
SELECT c.seq, f.parent, coalesce(t.thread_id, f.thread_id, (SELECT x.root_id FROM forks x WHERE x.parent = c.seq LIMIT 1)),
    f.checkpoint_id, f.at, t.status, coalesce(t.updated_at, 0), t.metadata
FROM chosen c LEFT JOIN forks f ON f.child = c.seq LEFT JOIN threads t ON t.seq = c.seq
ORDER BY c.seq;
