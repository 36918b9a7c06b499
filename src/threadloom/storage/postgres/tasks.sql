-- Tasks: a run that continues no other run's task, with the newest run that continues its own.

-- name: search
-- The tasks of an assistant with their newest runs; further conditions and the order are appended.
WITH tasks AS (
    SELECT r.thread_id || ':' || r.run_id AS task, r.seq AS first, coalesce((
        SELECT max(n.seq) FROM runs n
        WHERE n.thread_id = r.thread_id AND n.task_id = r.thread_id || ':' || r.run_id AND n.seq > r.seq
    ), r.seq) AS newest
    FROM runs r
    WHERE r.assistant_id = $1 AND ($2::text IS NULL OR r.thread_id = $2) AND r.task_id IS NULL AND NOT r.temporary
)
SELECT t.task, {r.run} FROM tasks t JOIN runs r ON r.seq = t.newest LEFT JOIN outcomes o ON o.run_id = r.run_id
WHERE ($3::text IS NULL OR $3 = CASE r.status
        WHEN 'pending' THEN 'submitted'
        WHEN 'running' THEN 'working'
        WHEN 'interrupted' THEN 'canceled'
        WHEN 'success' THEN CASE
            WHEN position('"__interrupt__":'::bytea IN o.output) > 0 AND tl_document(o.output) -> '__interrupt__' IS NOT NULL
            THEN 'input-required' ELSE 'completed' END
        ELSE 'failed' END)
  AND ($4::bigint IS NULL OR r.updated_at >= $4);
