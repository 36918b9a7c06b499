-- name: tip
-- A thread's head segment with its edge, the current position, whether the segment has any row, and the id of the newest root
-- checkpoint that the thread sees.
WITH RECURSIVE chain (seg, bound) AS (
    SELECT seg, 4611686018427387904 FROM heads WHERE thread_id = $1
    UNION ALL
    SELECT s.parent, {current} FROM chain c JOIN segments s ON s.id = c.seg WHERE s.parent IS NOT NULL
)
SELECT s.id, s.parent, s.upto, s.branch_at, nextval('positions'),
    EXISTS (SELECT 1 FROM checkpoints WHERE seg = s.id) OR EXISTS (SELECT 1 FROM writes WHERE seg = s.id),
    (SELECT k.checkpoint_id
     FROM chain c CROSS JOIN LATERAL (
        SELECT checkpoint_id FROM checkpoints WHERE seg = c.seg AND namespace = '' AND pos + 0 <= c.bound ORDER BY pos + 0 DESC LIMIT 1) k
     LIMIT 1)
FROM heads h JOIN segments s ON s.id = h.seg WHERE h.thread_id = $1;

-- name: place_of
-- Segment and position of a checkpoint that a thread sees, of the first put if there are several.
WITH RECURSIVE places AS MATERIALIZED (
    SELECT pos, seg FROM checkpoints WHERE checkpoint_id = $2 AND namespace = $3
),
chain (seg, bound) AS (
    SELECT seg, 4611686018427387904 FROM heads WHERE thread_id = $1
    UNION ALL
    SELECT s.parent, s.upto FROM chain c JOIN segments s ON s.id = c.seg WHERE s.upto >= (SELECT min(pos) FROM places)
)
SELECT p.seg, p.pos
FROM chain c CROSS JOIN LATERAL (
    SELECT seg, pos FROM places WHERE seg = c.seg AND pos <= c.bound ORDER BY pos LIMIT 1
) p
ORDER BY p.pos LIMIT 1;

-- name: begin
-- New segments with one edge, as heads of those threads that have none. Returns how many.
WITH made AS MATERIALIZED (
    SELECT thread_id, nextval('positions') AS seg FROM unnest($1::text[]) AS t (thread_id)
),
segments AS (
    INSERT INTO segments (id, parent, upto, branch_at) SELECT seg, $2, $3, $4 FROM made
),
heads AS (
    INSERT INTO heads (thread_id, seg, era) SELECT thread_id, seg, seg FROM made ON CONFLICT DO NOTHING RETURNING 1
)
SELECT count(*) FROM heads;

-- name: delete_heads
-- Deletes a thread's head and former heads, its run spans and tags. Returns the segments that were heads.
WITH spans AS (DELETE FROM run_spans WHERE thread_id = $1),
tags AS (DELETE FROM tags WHERE thread_id = $1),
former AS (DELETE FROM former_heads WHERE thread_id = $1 RETURNING head)
DELETE FROM heads WHERE thread_id = ANY (ARRAY(SELECT head FROM former) || $1) RETURNING seg;

-- name: delete_span
-- Deletes the span of a run on a thread. Returns its first position.
DELETE FROM run_spans WHERE run_id = $1 AND thread_id = $2 RETURNING first;

-- name: checkpoints_of_run
-- The checkpoints of a run, which begins at $4, that a chain shows and that were not put again later, each with the smallest
-- position at which the chain shows it.
SELECT (SELECT min(n.pos) FROM checkpoints n
        WHERE n.checkpoint_id = k.checkpoint_id AND n.namespace = k.namespace AND n.pos <= ($2::bigint[])[array_position($1::bigint[], n.seg)]), k.namespace, k.checkpoint_id
FROM unnest($1::bigint[], $2::bigint[]) AS c (seg, bound) JOIN checkpoints k ON k.seg + 0 = c.seg AND k.pos + 0 BETWEEN $4 AND c.bound
WHERE tl_document(k.meta) ->> 'run_id' = $3
  AND NOT EXISTS (
    SELECT 1 FROM (SELECT seg, pos FROM checkpoints WHERE checkpoint_id = k.checkpoint_id AND namespace = k.namespace AND pos > k.pos OFFSET 0) n
    WHERE n.pos <= ($2::bigint[])[array_position($1::bigint[], n.seg)]);

-- name: rows_after
-- The checkpoints and pending writes that a chain shows after position $3.
SELECT k.pos, k.namespace, k.checkpoint_id, true
FROM unnest($1::bigint[], $2::bigint[]) AS c (seg, bound) JOIN checkpoints k
    ON k.seg + 0 = c.seg AND k.pos + 0 <= c.bound AND k.pos + 0 > $3
WHERE c.bound > $3
UNION ALL
SELECT w.pos, w.namespace, w.checkpoint_id, false
FROM unnest($1::bigint[], $2::bigint[]) AS c (seg, bound) JOIN writes w
    ON w.seg + 0 = c.seg AND w.pos + 0 <= c.bound AND w.pos + 0 > $3
WHERE c.bound > $3;

-- name: spans_of_thread
-- The runs whose first row on a thread is at or after a position.
SELECT run_id, first FROM run_spans WHERE thread_id = $1 AND first >= $2;

-- name: delete_spans
-- Deletes the spans of runs whose first row on a thread is at or after a position.
DELETE FROM run_spans WHERE thread_id = $1 AND first >= $2;

-- name: begin_span
-- Stores the first position of a run on a thread. Later rows of the run do not change it.
INSERT INTO run_spans (run_id, thread_id, first) VALUES ($1, $2, $3) ON CONFLICT DO NOTHING;

-- name: insert_spans
-- Stores the first positions of runs on a thread.
INSERT INTO run_spans (run_id, thread_id, first) SELECT r.run_id, $1, r.first FROM unnest($2::text[], $3::bigint[]) AS r (run_id, first);

-- name: move_head
-- Sets the head of a thread, or the same head with a new era after rows were removed.
INSERT INTO heads (thread_id, seg, era) VALUES ($1, $2, nextval('positions'))
ON CONFLICT (thread_id) DO UPDATE SET seg = excluded.seg, era = excluded.era;

-- name: former_heads
-- The former heads of a thread, the last one first.
SELECT head, checkpoint_id, moved_at, reason, record FROM former_heads WHERE thread_id = $1 ORDER BY number DESC;

-- name: insert_former
-- A former head of a thread, with its segment.
WITH head AS (INSERT INTO heads (thread_id, seg, era) VALUES ($2, $8, nextval('positions')))
INSERT INTO former_heads (number, head, thread_id, checkpoint_id, moved_at, reason, record) VALUES ($1, $2, $3, $4, $5, $6, $7);

-- name: replace_former
-- What a former head is, after it was exchanged for the head of its thread.
UPDATE former_heads SET checkpoint_id = $2, moved_at = $3, reason = $4, record = $5 WHERE head = $1;

-- name: delete_former
-- Deletes a former head. Returns its segment.
WITH former AS (DELETE FROM former_heads WHERE head = $1)
DELETE FROM heads WHERE thread_id = $1 RETURNING seg;

-- name: tags
-- The tags of a thread, by name.
SELECT name, checkpoint_id, created_at, updated_at FROM tags WHERE thread_id = $1 ORDER BY name;

-- name: tag
-- One tag of a thread.
SELECT name, checkpoint_id, created_at, updated_at FROM tags WHERE thread_id = $1 AND name = $2;

-- name: set_tag
-- A tag, new or moved.
INSERT INTO tags (thread_id, name, checkpoint_id, created_at, updated_at) VALUES ($1, $2, $3, $4, $5)
ON CONFLICT (thread_id, name) DO UPDATE SET checkpoint_id = excluded.checkpoint_id, updated_at = excluded.updated_at;

-- name: delete_tag
-- Deletes a tag. Returns a row if there was one.
DELETE FROM tags WHERE thread_id = $1 AND name = $2 RETURNING true;

-- name: insert_segment
-- A new segment.
INSERT INTO segments (id, parent, upto, branch_at) VALUES (nextval('positions'), $1, $2, $3) RETURNING id;

-- name: continue_on
-- Sets the head of a thread, from whose view nothing is removed.
UPDATE heads SET seg = $2 WHERE thread_id = $1;

-- name: next_place
-- The position of the first checkpoint of a namespace that a chain ($1, $2) shows after a position.
SELECT min(k.pos)
FROM unnest($1::bigint[], $2::bigint[]) AS c (seg, bound) CROSS JOIN LATERAL (
    SELECT pos FROM checkpoints WHERE seg = c.seg AND namespace = $3 AND pos + 0 > $4 AND pos + 0 <= c.bound ORDER BY pos + 0 LIMIT 1
) k
WHERE c.bound > $4;

-- name: delete_above
-- Deletes the rows of a segment above a position. No row returned: a child sees one of them, and nothing is deleted.
SELECT tl_delete_above($1, $2) IS NOT NULL WHERE coalesce((SELECT max(upto) FROM segments WHERE parent = $1), 0) <= $2;

-- name: collect
-- Frees the rows of a former head segment that no thread sees.
SELECT tl_collect($1, $2);

-- name: collect_dead
-- Frees a portion of the rows that were too many to be freed at once.
SELECT tl_collect_dead($1);

-- name: store_anew
-- Copies rows to another segment.
SELECT old_places, new_places FROM tl_store_anew($1, $2, $3, $4, $5);

-- name: newest_of_namespaces
-- The columns that a prune needs of the newest checkpoint of each namespace. $1, $2: the chain.
SELECT DISTINCT ON (k.namespace) k.pos, k.namespace, k.checkpoint_id, k.parent, k.channels || k.small_channels, k.meta
FROM unnest($1::bigint[], $2::bigint[]) AS c (seg, bound) JOIN checkpoints k ON k.seg = c.seg AND k.pos + 0 <= c.bound
ORDER BY k.namespace, k.pos + 0 DESC;

-- name: newest_of
-- The same columns of the newest checkpoints of some namespaces ($3).
SELECT k.pos, k.namespace, k.checkpoint_id, k.parent, k.channels || k.small_channels, k.meta
FROM unnest($3::text[]) AS n (namespace)
CROSS JOIN LATERAL (
    SELECT l.pos
    FROM unnest($1::bigint[], $2::bigint[]) WITH ORDINALITY AS c (seg, bound, place)
    CROSS JOIN LATERAL (
        SELECT pos FROM checkpoints WHERE seg = c.seg AND namespace = n.namespace AND pos + 0 <= c.bound ORDER BY pos + 0 DESC LIMIT 1) l
    ORDER BY c.place LIMIT 1
) f
JOIN checkpoints k ON k.pos = f.pos;

-- name: newest_inner
-- The same columns of the newest checkpoint of each namespace of a subgraph, if it is above $3 or the namespace has no task.
SELECT k.pos, k.namespace, k.checkpoint_id, k.parent, k.channels || k.small_channels, k.meta
FROM (
    SELECT k.namespace, max(k.pos + 0) AS pos
    FROM unnest($1::bigint[], $2::bigint[]) AS c (seg, bound) JOIN checkpoints k
        ON k.seg = c.seg AND k.namespace > '' AND k.pos + 0 <= c.bound
    GROUP BY k.namespace
) f
JOIN checkpoints k ON k.pos = f.pos
WHERE f.pos > $3 OR strpos(f.namespace, ':') = 0;

-- name: nearest
-- The same columns of a checkpoint ($3 namespace, $4 id) and its nearest ancestors, at most $5 in all, each followed by its parent.
WITH RECURSIVE path (pos, parent, number) AS (
    SELECT k.pos, k.parent, 1 FROM (
        SELECT pos, parent FROM checkpoints
        WHERE checkpoint_id = $4 AND namespace = $3 AND pos <= ($2::bigint[])[array_position($1::bigint[], seg)] ORDER BY pos DESC LIMIT 1) k
    UNION ALL
    SELECT k.pos, k.parent, p.number + 1
    FROM path p CROSS JOIN LATERAL (
        SELECT pos, parent FROM checkpoints
        WHERE checkpoint_id = p.parent AND namespace = $3 AND pos < p.pos AND pos <= ($2::bigint[])[array_position($1::bigint[], seg)]
        ORDER BY pos DESC LIMIT 1) k
    WHERE p.number < $5
)
SELECT k.pos, k.namespace, k.checkpoint_id, k.parent, k.channels || k.small_channels, k.meta
FROM path p JOIN checkpoints k ON k.pos = p.pos ORDER BY p.number;

-- name: ancestors
-- The same columns of the ancestors of a checkpoint, as far back as channels are searched.
SELECT k.pos, k.namespace, k.checkpoint_id, k.parent, k.channels || k.small_channels, k.meta
FROM tl_path($1, $2, $3, $4, $5) p JOIN checkpoints k ON k.pos = p.place;

-- name: writes_of
-- The pending writes of checkpoints ($3 namespaces, $4 ids) that a chain shows: checkpoint, task, index and position, by
-- position.
SELECT e.namespace, e.checkpoint_id, w.task_id, w.idx, w.pos
FROM unnest($3::text[], $4::text[]) AS e (namespace, checkpoint_id)
CROSS JOIN unnest($1::bigint[], $2::bigint[]) AS c (seg, bound)
JOIN writes w ON w.seg = c.seg AND w.checkpoint_id = e.checkpoint_id AND w.namespace = e.namespace AND w.pos <= c.bound
ORDER BY w.pos;

-- name: count_rows
-- How many checkpoints and pending writes a segment has up to a bound. Counting stops at $3.
SELECT count(*) FROM (
    (SELECT 1 FROM checkpoints WHERE seg + 0 = $1 AND pos + 0 <= $2 LIMIT $3)
    UNION ALL
    (SELECT 1 FROM writes WHERE seg + 0 = $1 AND pos + 0 <= $2 LIMIT $3)) r;

