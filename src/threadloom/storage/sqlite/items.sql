-- Items of the long-term store. `:from` and `:upto` bound the namespaces at and below a prefix.

-- name: put
-- Stores an item in place of an earlier one; `created_at` of one that is not expired is kept.
INSERT INTO items ({item}) VALUES ({item_values})
ON CONFLICT (namespace, key) DO UPDATE
SET created_at = CASE WHEN items.expires_at <= :now THEN excluded.created_at ELSE items.created_at END,
    updated_at = excluded.updated_at,
    ttl_minutes = excluded.ttl_minutes,
    expires_at = excluded.expires_at,
    value = excluded.value
RETURNING id;

-- name: drop_vectors
-- Deletes all vectors of an item.
DELETE FROM item_vectors WHERE item = ?;

-- name: put_vector
-- One vector of an item.
INSERT INTO item_vectors (item, namespace, dims, expires_at, vector) VALUES (?, ?, ?, ?, ?);

-- name: get
-- One item that is not expired.
SELECT {item}
FROM items
WHERE namespace = :namespace AND key = :key AND (expires_at IS NULL OR expires_at > :now);

-- name: refresh
-- Restarts the time to live of an item that has one and is not expired. The sum is limited to 64 bits.
UPDATE items
SET expires_at = CAST(min(:now + ttl_minutes * 60000000, 9.2e18) AS INTEGER)
WHERE namespace = :namespace AND key = :key AND expires_at > :now
RETURNING id, expires_at;

-- name: refresh_vectors
-- The vectors of an item expire with it.
UPDATE item_vectors SET expires_at = ? WHERE item = ?;

-- name: delete
-- Deletes one item; its vectors are deleted with it.
DELETE FROM items WHERE namespace = ? AND key = ?;

-- name: list_all
-- A page of all items, the last updated first, in the order of an index.
SELECT id, {item}
FROM items
WHERE expires_at IS NULL OR expires_at > :now
ORDER BY updated_at DESC, namespace, key
LIMIT :limit OFFSET :offset;

-- name: below
-- The ids of items at and below a namespace. Further conditions and an order are appended.
SELECT id
FROM items
WHERE namespace >= :from AND namespace < :upto AND (expires_at IS NULL OR expires_at > :now);

-- name: unscored
-- As `below`, only items without a vector of this length.
SELECT id
FROM items
WHERE namespace >= :from AND namespace < :upto AND (expires_at IS NULL OR expires_at > :now)
    AND NOT EXISTS (SELECT 1 FROM item_vectors WHERE item = items.id AND dims = :dims);

-- name: by_ids
-- Items by id, in any order.
SELECT id, {item}
FROM items
WHERE id IN (SELECT value FROM json_each(?));

-- name: values
-- The values of items by id, in any order.
SELECT id, value FROM items WHERE id IN (SELECT value FROM json_each(?));

-- name: vector_ids
-- The ids of all vectors of items that are not expired, at and below a namespace, as one text: a hundred thousand rows would cost
-- more.
SELECT group_concat(id)
FROM item_vectors
WHERE dims = :dims AND namespace >= :from AND namespace < :upto AND (expires_at IS NULL OR expires_at > :now);

-- name: vector_ids_of
-- As `vector_ids`, only of items that meet further conditions, which are appended.
SELECT group_concat(item_vectors.id)
FROM items
CROSS JOIN item_vectors ON item_vectors.item = items.id AND item_vectors.dims = :dims
WHERE items.namespace >= :from AND items.namespace < :upto AND (items.expires_at IS NULL OR items.expires_at > :now);

-- name: vectors
-- Vectors by id.
SELECT id, item, vector FROM item_vectors WHERE id IN (SELECT value FROM json_each(?));

-- name: vectors_between
-- All vectors of one length in a range of ids.
SELECT id, item, vector FROM item_vectors WHERE id BETWEEN ? AND ? AND dims = ?;

-- name: living_vectors
-- The ids of all stored vectors of one length.
SELECT group_concat(id) FROM item_vectors WHERE dims = ?;

-- name: namespaces
-- Namespaces at and below one that contain items that are not expired.
SELECT DISTINCT namespace
FROM items
WHERE namespace >= :from AND namespace < :upto AND (expires_at IS NULL OR expires_at > :now)
ORDER BY namespace;

-- name: sweep
-- Deletes expired items, the longest overdue first.
DELETE FROM items
WHERE id IN (SELECT id FROM items WHERE expires_at <= :now ORDER BY expires_at LIMIT :limit);
