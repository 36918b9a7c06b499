-- Items of the long-term store.

-- name: put
-- Stores an item in place of an earlier one; `created_at` of one that is not expired is kept. Returns whether there was none.
INSERT INTO items ({item}, place) VALUES ({item_values}, :place)
ON CONFLICT (place) DO UPDATE
SET created_at = CASE WHEN items.expires_at <= :now THEN excluded.created_at ELSE items.created_at END,
    updated_at = excluded.updated_at,
    ttl_minutes = excluded.ttl_minutes,
    expires_at = excluded.expires_at,
    value = excluded.value
RETURNING id, xmax = 0 AS fresh;

-- name: put_vectors
-- Replaces the vectors of an item.
WITH gone AS (DELETE FROM item_vectors WHERE item = $1)
INSERT INTO item_vectors (item, namespace, dims, expires_at, vector)
SELECT $1, $2, length(vector) / 4, $3, vector FROM unnest($4::bytea[]) AS v (vector);

-- name: get
-- One item that is not expired.
SELECT {item} FROM items
WHERE place = $1 AND (expires_at IS NULL OR expires_at > $2);

-- name: refresh
-- Restarts the time to live of items that have one and are not expired, and of their vectors. The sum is limited to 64 bits.
WITH alive AS (
    SELECT id FROM items WHERE place = ANY($1::bytea[]) AND expires_at > $2 ORDER BY id FOR NO KEY UPDATE
), refreshed AS (
    UPDATE items i SET expires_at = trunc(least($2 + i.ttl_minutes * 60000000, 9.2e18))::bigint
    FROM alive WHERE i.id = alive.id
    RETURNING i.id, i.expires_at
)
UPDATE item_vectors v SET expires_at = r.expires_at FROM refreshed r WHERE v.item = r.id;

-- name: delete
-- Deletes one item, with its vectors.
DELETE FROM items WHERE place = $1;

-- name: by_ids
-- Items by id, in any order.
SELECT id, {item} FROM items WHERE id = ANY($1::bigint[]);

-- name: values
-- The values of items by id, in any order.
SELECT id, value FROM items WHERE id = ANY($1::bigint[]);

-- name: vectors
-- Vectors by id.
SELECT id, item, vector FROM item_vectors WHERE id = ANY($1::bigint[]);

-- name: living_vectors
-- The ids of all stored vectors of one length.
SELECT string_agg(id::text, ',') FROM item_vectors WHERE dims = $1;

-- name: sweep
-- Deletes expired items, the longest overdue first. Items that another transaction is changing are skipped until the next call.
WITH over AS (
    SELECT id FROM items WHERE expires_at <= $1 ORDER BY expires_at LIMIT $2 FOR UPDATE SKIP LOCKED
), gone AS (
    DELETE FROM items i USING over WHERE i.id = over.id RETURNING 1
)
SELECT count(*) FROM gone;
