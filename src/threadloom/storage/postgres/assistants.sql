-- Assistants: the current version of each in `assistants`, every version in `assistant_versions`.

-- name: insert
-- A new assistant with its first version, unless its id is taken.
WITH made AS (
    INSERT INTO assistants ({assistant}, folded, search) VALUES ({assistant_values}, :folded, :search)
    ON CONFLICT (assistant_id) DO NOTHING
    RETURNING *
), first AS (
    INSERT INTO assistant_versions ({new_version}, search) SELECT {new_version_made}, search FROM made
)
SELECT count(*) = 1 FROM made;

-- name: lock
-- Locks an assistant against changes by others.
SELECT 1 FROM assistants WHERE assistant_id = $1 FOR UPDATE;

-- name: add_version
-- A version numbered highest ever + 1, created at `updated_at`, which becomes the current record. `created_at` never changes.
WITH added AS (
    INSERT INTO assistant_versions ({new_version}, search)
    SELECT {next_version_values}, :search FROM assistant_versions WHERE assistant_id = :assistant_id
    RETURNING version
)
UPDATE assistants a SET {assistant_changes}, version = added.version, folded = :folded, search = :search
FROM added WHERE a.assistant_id = :assistant_id RETURNING {a.assistant};

-- name: update
-- Changes the current record. `created_at` never changes.
UPDATE assistants SET {assistant_changes}, version = :version, folded = :folded, search = :search
WHERE assistant_id = :assistant_id;

-- name: get
-- One assistant in its current version.
SELECT {assistant}
FROM assistants
WHERE assistant_id = $1;

-- name: versions
-- Versions of one assistant, newest first.
SELECT {version}
FROM assistant_versions
WHERE assistant_id = $1 AND ($2::jsonb IS NULL OR search @> $2)
ORDER BY version DESC
LIMIT $3 OFFSET $4;

-- name: version
-- One version of one assistant.
SELECT {version}
FROM assistant_versions
WHERE assistant_id = $1 AND version = $2;

-- name: restate
-- Replaces description, config and context of a version, and of the assistant if that version is its current one.
WITH version AS (
    UPDATE assistant_versions SET description = :description, config = :config, context = :context
    WHERE assistant_id = :assistant_id AND version = :version
)
UPDATE assistants SET description = :description, config = :config, context = :context
WHERE assistant_id = :assistant_id AND version = :version;

-- name: delete
-- Deletes an assistant with all its versions. Returns whether it existed.
WITH versions AS (
    DELETE FROM assistant_versions WHERE assistant_id = $1
)
DELETE FROM assistants WHERE assistant_id = $1 RETURNING true;
