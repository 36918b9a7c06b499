-- Statements walk a thread's chain themselves, and only as far as rows are needed.

-- name: head
-- A thread's head segment and era.
SELECT seg, era FROM heads WHERE thread_id = $1;

-- name: edges
-- A segment and all segments above it, each with its edge and the position at which a branch leaves.
WITH RECURSIVE up (id, parent, upto, branch_at) AS (
    SELECT id, parent, upto, branch_at FROM segments WHERE id = $1
    UNION ALL
    SELECT s.id, s.parent, s.upto, s.branch_at FROM up JOIN segments s ON s.id = up.parent
)
SELECT id, parent, upto, branch_at FROM up;

-- name: current
-- The bound of a segment's parent `s.upto`, as far as the newest branch shows it: see `lineage.branches.current`.
least(c.bound, CASE WHEN c.bound > s.upto THEN coalesce(s.branch_at, s.upto) ELSE s.upto END);

-- name: place
-- The position of a checkpoint that a chain ($1, $2) shows.
SELECT max(k.pos) FROM checkpoints k
WHERE k.checkpoint_id = $4 AND k.namespace = $3 AND k.pos <= ($2::bigint[])[array_position($1::bigint[], k.seg)];

-- name: columns
-- The columns of a checkpoint `k`, and of its pending writes `w` as arrays.
k.pos, k.namespace, k.checkpoint_id, k.parent, k.body_type, k.body, k.channels, k.blobs, k.small_channels, k.small_bytes, k.meta,
    w.task_ids, w.idxs, w.write_channels, w.write_types, w.write_data, w.paths, w.positions;

-- name: arrays
-- Pending writes as arrays.
array_agg(task_id) AS task_ids, array_agg(idx) AS idxs, array_agg(channel) AS write_channels, array_agg(type) AS write_types,
        array_agg(data) AS write_data, array_agg(path) AS paths, array_agg(pos) AS positions;

-- name: latest
-- The newest checkpoint of a namespace up to position $3, in full. The chain is what the newest branch shows.
WITH RECURSIVE chain (seg, bound, era, depth) AS (
    SELECT seg, $3::bigint, era, 0 FROM heads WHERE thread_id = $1
    UNION ALL
    SELECT s.parent, {current}, c.era, c.depth + 1
    FROM chain c JOIN segments s ON s.id = c.seg WHERE s.parent IS NOT NULL
),
found AS MATERIALIZED (
    SELECT c.era, c.depth, false AS branched, k.pos
    FROM chain c CROSS JOIN LATERAL (
        SELECT pos FROM checkpoints WHERE seg = c.seg AND namespace = $2 AND pos + 0 <= c.bound ORDER BY pos + 0 DESC LIMIT 1
    ) k
    LIMIT 1
)
{whole};

-- name: by_id
-- One checkpoint by id, in full. The walk along the chain stops below all positions with this id. `branched`: whether a branch
-- begins between the head and the checkpoint's segment, so that the pending writes may be of several branches.
WITH RECURSIVE places AS MATERIALIZED (
    SELECT pos, seg FROM checkpoints WHERE checkpoint_id = $3 AND namespace = $2
),
chain (seg, bound, era, depth, branched) AS (
    SELECT seg, 4611686018427387904, era, 0, false FROM heads WHERE thread_id = $1
    UNION ALL
    SELECT s.parent, s.upto, c.era, c.depth + 1, c.branched OR s.branch_at IS NOT NULL FROM chain c JOIN segments s ON s.id = c.seg
    WHERE s.upto >= (SELECT min(pos) FROM places)
),
found AS MATERIALIZED (
    SELECT c.era, c.depth, c.branched, p.pos
    FROM chain c CROSS JOIN LATERAL (
        SELECT pos FROM places WHERE seg = c.seg AND pos <= c.bound ORDER BY pos DESC LIMIT 1
    ) p
    LIMIT 1
)
{whole};

-- name: whole
-- The end of `latest` and `by_id`: the checkpoint that was found, its blobs, and the pending writes that the chain shows.
SELECT f.era, f.branched, {columns}, b.needed_blobs
FROM found f
JOIN checkpoints k ON k.pos = f.pos
CROSS JOIN LATERAL (
    WITH RECURSIVE needed (id) AS (
        SELECT unnest(k.blobs)
        UNION
        SELECT b.base FROM needed n JOIN blobs b ON b.id = n.id WHERE b.base IS NOT NULL
    )
    SELECT array_agg((b.id, b.type, b.data, b.base, b.number, b.size)::lineage_blob) AS needed_blobs
    FROM needed n JOIN blobs b ON b.id = n.id
) b
CROSS JOIN LATERAL (
    SELECT {arrays}
    FROM (
        SELECT w.* FROM (SELECT seg, bound FROM chain LIMIT (SELECT depth + 1 FROM found)) c
        JOIN writes w ON w.seg = c.seg AND w.checkpoint_id = k.checkpoint_id AND w.namespace = k.namespace AND w.pos <= c.bound
        ORDER BY w.pos
    ) w
) w;

-- name: history
-- A page of a thread's checkpoints, newest first, each with its pending writes. Rows that were put again later are left out.
-- `branched`: as for `by_id`.
WITH RECURSIVE chain (seg, bound, era, depth, branched) AS (
    SELECT seg, 4611686018427387904, era, 0, false FROM heads WHERE thread_id = $1
    UNION ALL
    SELECT s.parent, {inherited}, c.era, c.depth + 1, c.branched OR s.branch_at IS NOT NULL FROM chain c JOIN segments s ON s.id = c.seg WHERE s.parent IS NOT NULL
),
place AS MATERIALIZED (
    SELECT max(pos) AS pos FROM checkpoints n
    WHERE checkpoint_id = $3 AND EXISTS (SELECT 1 FROM chain c WHERE c.seg = n.seg AND n.pos <= c.bound)
),
page AS MATERIALIZED (
    SELECT c.era, c.depth, c.branched, k.*
    FROM chain c CROSS JOIN LATERAL (
        SELECT * FROM checkpoints k
        WHERE {seg} = c.seg AND {pos} <= least(c.bound, (SELECT pos - 1 FROM place)){conditions}
          AND NOT EXISTS (
            SELECT 1 FROM (SELECT seg, pos FROM checkpoints WHERE checkpoint_id = k.checkpoint_id AND namespace = k.namespace AND pos > k.pos OFFSET 0) n
            WHERE (SELECT true FROM chain WHERE seg = n.seg AND bound >= n.pos LIMIT 1))
        ORDER BY {pos} DESC LIMIT $2
    ) k
    LIMIT $2
)
SELECT k.era, k.branched, {columns}
FROM page k
CROSS JOIN LATERAL (
    SELECT {arrays}
    FROM (
        SELECT w.* FROM (SELECT seg, bound FROM chain LIMIT k.depth + 1) c
        JOIN writes w ON w.seg = c.seg AND w.checkpoint_id = k.checkpoint_id AND w.namespace = k.namespace AND w.pos <= c.bound
        ORDER BY w.pos
    ) w
) w;

-- name: steps
-- The root checkpoints that a thread sees up to a position, newest first, without their content.
WITH RECURSIVE chain (seg, bound) AS (
    SELECT seg, 4611686018427387904 FROM heads WHERE thread_id = $1
    UNION ALL
    SELECT s.parent, s.upto FROM chain c JOIN segments s ON s.id = c.seg WHERE s.parent IS NOT NULL
)
SELECT k.pos, k.checkpoint_id, k.parent
FROM chain c CROSS JOIN LATERAL (
    SELECT pos, checkpoint_id, parent FROM checkpoints
    WHERE seg = c.seg AND namespace = '' AND pos + 0 <= least(c.bound, $2) ORDER BY pos + 0 DESC LIMIT $3
) k
LIMIT $3;

-- name: digests
-- The recorded digests of a page of a thread's checkpoints and of their pending writes, newest first, as `history`.
WITH RECURSIVE chain (seg, bound, depth) AS (
    SELECT seg, 4611686018427387904, 0 FROM heads WHERE thread_id = $1
    UNION ALL
    SELECT s.parent, s.upto, c.depth + 1 FROM chain c JOIN segments s ON s.id = c.seg WHERE s.parent IS NOT NULL
),
place AS MATERIALIZED (
    SELECT max(pos) AS pos FROM checkpoints n
    WHERE checkpoint_id = $3 AND EXISTS (SELECT 1 FROM chain c WHERE c.seg = n.seg AND n.pos <= c.bound)
),
page AS MATERIALIZED (
    SELECT c.depth, k.*
    FROM chain c CROSS JOIN LATERAL (
        SELECT pos, namespace, checkpoint_id, parent, digests FROM checkpoints k
        WHERE seg + 0 = c.seg AND pos + 0 <= least(c.bound, (SELECT pos - 1 FROM place))
          AND ($3::text IS NULL OR (SELECT pos FROM place) IS NOT NULL)
          AND NOT EXISTS (
            SELECT 1 FROM (SELECT seg, pos FROM checkpoints WHERE checkpoint_id = k.checkpoint_id AND namespace = k.namespace AND pos > k.pos OFFSET 0) n
            WHERE (SELECT true FROM chain WHERE seg = n.seg AND bound >= n.pos LIMIT 1))
        ORDER BY pos + 0 DESC LIMIT $2
    ) k
    LIMIT $2
)
SELECT k.pos, k.namespace, k.checkpoint_id, k.parent, k.digests, w.positions, w.task_ids, w.idxs, w.digests, w.paths
FROM page k
CROSS JOIN LATERAL (
    SELECT array_agg(pos) AS positions, array_agg(task_id) AS task_ids, array_agg(idx) AS idxs, array_agg(digest) AS digests, array_agg(path) AS paths
    FROM (
        SELECT w.pos, w.task_id, w.idx, w.digest, w.path FROM (SELECT seg, bound FROM chain LIMIT k.depth + 1) c
        JOIN writes w ON w.seg = c.seg AND w.checkpoint_id = k.checkpoint_id AND w.namespace = k.namespace AND w.pos <= c.bound
        ORDER BY w.pos
    ) w
) w;

-- name: blobs
-- Values by id, and those that they build on.
WITH RECURSIVE needed (id) AS (
    SELECT unnest($1::bigint[])
    UNION
    SELECT b.base FROM needed n JOIN blobs b ON b.id = n.id WHERE b.base IS NOT NULL
)
SELECT b.id, b.type, b.data, b.base, b.number, b.size FROM needed n JOIN blobs b ON b.id = n.id;

-- name: path
-- The ancestors of a checkpoint as far as channels are searched, each with the channels still missing there and its pending
-- writes to these. $1 and $2 are the chain.
SELECT p.missing, {columns}
FROM tl_path($1, $2, $3, $4, $5) p
JOIN checkpoints k ON k.pos = p.place
CROSS JOIN LATERAL (
    SELECT {arrays}
    FROM (
        SELECT w.* FROM unnest($1[1:p.level], $2[1:p.level]) AS c (seg, bound)
        JOIN writes w ON w.seg = c.seg AND w.checkpoint_id = k.checkpoint_id AND w.namespace = k.namespace AND w.pos <= c.bound
        WHERE w.channel = ANY(p.missing)
        ORDER BY w.pos
    ) w
) w;

-- name: view
-- Head and era of a thread, and the position of the newest root checkpoint in its head segment.
SELECT h.seg, h.era, coalesce(
    (SELECT pos FROM checkpoints WHERE seg = h.seg AND namespace = '' ORDER BY pos + 0 DESC LIMIT 1), 0)
FROM heads h WHERE h.thread_id = $1;

-- name: roots
-- What the map of a thread needs of its root checkpoints, newest first.
WITH RECURSIVE chain (seg, bound, depth) AS (
    SELECT seg, 4611686018427387904, 0 FROM heads WHERE thread_id = $1
    UNION ALL
    SELECT s.parent, s.upto, c.depth + 1 FROM chain c JOIN segments s ON s.id = c.seg WHERE s.parent IS NOT NULL
)
SELECT k.pos, k.checkpoint_id, k.parent, k.meta, k.messages
FROM chain c CROSS JOIN LATERAL (
    SELECT * FROM checkpoints
    WHERE seg = c.seg AND namespace = '' AND pos + 0 > $3 AND pos + 0 <= c.bound ORDER BY pos + 0 DESC LIMIT $2
) k
WHERE c.bound > $3
LIMIT $2;

-- name: heads
-- The ids of all threads with a history.
SELECT h.thread_id FROM heads h WHERE NOT EXISTS (SELECT 1 FROM former_heads f WHERE f.head = h.thread_id);

-- name: exists
-- Whether a thread sees a checkpoint.
WITH RECURSIVE chain (seg, bound) AS (
    SELECT seg, 4611686018427387904 FROM heads WHERE thread_id = $1
    UNION ALL
    SELECT s.parent, s.upto FROM chain c JOIN segments s ON s.id = c.seg WHERE s.parent IS NOT NULL
)
SELECT EXISTS (
    SELECT 1 FROM chain c CROSS JOIN LATERAL (SELECT 1 FROM checkpoints WHERE seg + 0 = c.seg AND pos + 0 <= c.bound LIMIT 1) k);

-- name: threads_of_run
-- The threads that a run wrote on.
SELECT thread_id FROM run_spans WHERE run_id = $1 ORDER BY thread_id;

-- name: wrote
-- Whether a thread sees a root checkpoint of a run that wrote on it.
WITH RECURSIVE chain (seg, bound, first) AS (
    SELECT h.seg, 4611686018427387904, r.first
    FROM heads h JOIN run_spans r ON r.run_id = $2 AND r.thread_id = h.thread_id WHERE h.thread_id = $1
    UNION ALL
    SELECT s.parent, s.upto, c.first FROM chain c JOIN segments s ON s.id = c.seg WHERE s.upto >= c.first
)
SELECT EXISTS (
    SELECT 1 FROM chain c CROSS JOIN LATERAL (
        SELECT 1 FROM checkpoints
        WHERE seg = c.seg AND namespace = '' AND pos + 0 BETWEEN c.first AND c.bound AND tl_document(meta) ->> 'run_id' = $2
        LIMIT 1
    ) k);

-- name: usage_checkpoints
-- Number, bytes and inherited bytes of the checkpoints of a chain. $1, $2: the chain, $3: its floor.
SELECT count(*), coalesce(sum(bytes), 0)::bigint, coalesce(sum(bytes) FILTER (WHERE pos <= $3), 0)::bigint
FROM (
    SELECT DISTINCT ON (k.namespace, k.checkpoint_id) k.pos, octet_length(k.body) + octet_length(k.meta) AS bytes
    FROM unnest($1::bigint[], $2::bigint[]) AS c (seg, bound) JOIN checkpoints k ON k.seg + 0 = c.seg AND k.pos + 0 <= c.bound
    ORDER BY k.namespace, k.checkpoint_id, k.pos DESC
) seen;

-- name: usage_writes
-- Number, bytes and inherited bytes of the valid pending writes of a chain. Parameters as for `usage_checkpoints`.
SELECT count(*), coalesce(sum(bytes), 0)::bigint, coalesce(sum(bytes) FILTER (WHERE pos <= $3), 0)::bigint
FROM (
    SELECT DISTINCT ON (w.namespace, w.checkpoint_id, w.task_id, w.idx) w.pos, octet_length(w.data) AS bytes
    FROM unnest($1::bigint[], $2::bigint[]) AS c (seg, bound) JOIN writes w ON w.seg + 0 = c.seg AND w.pos + 0 <= c.bound
    ORDER BY w.namespace, w.checkpoint_id, w.task_id, w.idx, (CASE WHEN w.idx < 0 THEN -w.pos ELSE w.pos END)
) seen;

-- name: usage_channels
-- Of each channel the number of values, their bytes, the inherited bytes and the stored bytes: blobs, and inline values in rows.
WITH seen AS MATERIALIZED (
    SELECT DISTINCT ON (k.namespace, k.checkpoint_id) k.pos, k.channels, k.blobs, k.small_channels, k.small_bytes
    FROM unnest($1::bigint[], $2::bigint[]) AS c (seg, bound) JOIN checkpoints k ON k.seg + 0 = c.seg AND k.pos + 0 <= c.bound
    ORDER BY k.namespace, k.checkpoint_id, k.pos DESC
),
stored (channel, bytes, pos, stored) AS (
    SELECT r.channel, b.size, b.pos, octet_length(b.data)
    FROM (SELECT DISTINCT j.channel, j.id FROM seen, unnest(seen.channels, seen.blobs) AS j (channel, id)) r
    JOIN blobs b ON b.id = r.id
    UNION ALL
    SELECT j.channel, j.bytes, seen.pos, j.bytes
    FROM seen, unnest(seen.small_channels, seen.small_bytes) AS j (channel, bytes) WHERE j.bytes > 0
)
SELECT channel, count(*), sum(bytes)::bigint, coalesce(sum(bytes) FILTER (WHERE pos <= $3), 0)::bigint,
    sum(stored)::bigint
FROM stored GROUP BY channel;

-- name: put
-- Stores a checkpoint, or pending writes.
SELECT tl_put($1);

-- name: lock
-- Locks the lineages of threads exclusively until the transaction ends.
SELECT pg_advisory_xact_lock(key) FROM (SELECT DISTINCT tl_lineage_key(id) AS key FROM unnest($1::text[]) AS t (id) ORDER BY 1) k;

-- name: put_many
-- Stores checkpoints and pending writes, one after the other.
SELECT tl_put_many($1);

-- name: any_blob
-- Whether any of these blobs exists.
SELECT EXISTS (SELECT 1 FROM blobs WHERE id = ANY($1::bigint[]));

-- name: eras
-- The eras of threads.
SELECT thread_id, era FROM heads WHERE thread_id = ANY($1::text[]);
