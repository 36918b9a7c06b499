-- Assistants: the current version of each in `assistants`, every version in `assistant_versions`.

-- name: insert
-- A new assistant with its first version, unless its id is taken.
WITH made AS (
    INSERT INTO assistants
        (assistant_id, graph_id, version, created_at, updated_at, name, folded, description, config, context, metadata, search)
    VALUES ($1, $2, $3, $4, $5, $6, $7, $8, $9, $10, $11, $12)
    ON CONFLICT (assistant_id) DO NOTHING
    RETURNING *
), first AS (
    INSERT INTO assistant_versions
        (assistant_id, version, graph_id, created_at, name, description, config, context, metadata, search)
    SELECT assistant_id, version, graph_id, updated_at, name, description, config, context, metadata, search FROM made
)
SELECT count(*) = 1 FROM made;

-- name: lock
-- Waits until nobody else is changing an assistant.
SELECT 1 FROM assistants WHERE assistant_id = $1 FOR UPDATE;

-- name: add_version
-- A version after the highest there ever was, made at `updated_at`, as the current record too. `created_at` never moves.
WITH added AS (
    INSERT INTO assistant_versions
        (assistant_id, version, graph_id, created_at, name, description, config, context, metadata, search)
    SELECT $1, coalesce(max(version), 0) + 1, $2, $3, $4, $6, $7, $8, $9, $10
    FROM assistant_versions WHERE assistant_id = $1
    RETURNING version
)
UPDATE assistants
SET graph_id = $2, version = added.version, updated_at = $3, name = $4, folded = $5, description = $6, config = $7,
    context = $8, metadata = $9, search = $10
FROM added
WHERE assistant_id = $1
RETURNING assistant_id, graph_id, assistants.version, created_at, updated_at, name, description, config, context, metadata;

-- name: update
-- The current record. `created_at` never moves.
UPDATE assistants
SET graph_id = $2, updated_at = $3, name = $4, folded = $5, description = $6, config = $7, context = $8, metadata = $9,
    search = $10, version = $11
WHERE assistant_id = $1;

-- name: get
-- One assistant in its current version.
SELECT assistant_id, graph_id, version, created_at, updated_at, name, description, config, context, metadata
FROM assistants
WHERE assistant_id = $1;

-- name: versions
-- Versions of one assistant, newest first.
SELECT assistant_id, graph_id, version, created_at, created_at, name, description, config, context, metadata
FROM assistant_versions
WHERE assistant_id = $1 AND ($2::jsonb IS NULL OR search @> $2)
ORDER BY version DESC
LIMIT $3 OFFSET $4;

-- name: version
-- One version of one assistant.
SELECT assistant_id, graph_id, version, created_at, created_at, name, description, config, context, metadata
FROM assistant_versions
WHERE assistant_id = $1 AND version = $2;

-- name: restate
-- Another description, config and context for a version, and for the assistant, if that version is its current one.
WITH version AS (
    UPDATE assistant_versions SET description = $3, config = $4, context = $5 WHERE assistant_id = $1 AND version = $2
)
UPDATE assistants SET description = $3, config = $4, context = $5 WHERE assistant_id = $1 AND version = $2;

-- name: delete
-- The assistant with all its versions. Tells whether it was there.
WITH versions AS (
    DELETE FROM assistant_versions WHERE assistant_id = $1
)
DELETE FROM assistants WHERE assistant_id = $1 RETURNING true;
