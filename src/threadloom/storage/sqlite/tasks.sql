-- Tasks: a run that continues no other run's task, with the newest run that continues its own.

-- name: search
-- The tasks of an assistant with their newest runs; further conditions and the order are appended.
WITH tasks AS (
    SELECT r.thread_id || ':' || r.run_id AS task_id, r.seq AS first, coalesce((
        SELECT max(n.seq) FROM runs n
        WHERE n.thread_id = r.thread_id AND n.seq > r.seq
          AND json_extract(CAST(n.metadata AS TEXT), '$.a2a_task_id') = r.thread_id || ':' || r.run_id
    ), r.seq) AS newest
    FROM runs r
    WHERE r.assistant_id = :assistant_id AND (:thread_id IS NULL OR r.thread_id = :thread_id)
      AND json_extract(CAST(r.metadata AS TEXT), '$.a2a_task_id') IS NULL
      AND NOT coalesce(json_extract(CAST(r.kwargs AS TEXT), '$.temporary'), 0)
)
SELECT t.task_id, {r.run} FROM tasks t JOIN runs r ON r.seq = t.newest LEFT JOIN outcomes o ON o.run_id = r.run_id
WHERE (:state IS NULL OR :state = CASE r.status
        WHEN 'pending' THEN 'submitted'
        WHEN 'running' THEN 'working'
        WHEN 'interrupted' THEN 'canceled'
        WHEN 'success' THEN CASE
            WHEN json_type(CAST(o.output AS TEXT), '$.__interrupt__') IS NULL THEN 'completed' ELSE 'input-required' END
        ELSE 'failed' END)
  AND (:since IS NULL OR r.updated_at >= :since);
